"""The staged changes of a git repository."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.errors import RequestError

_MAX_DIFF_CHARACTERS = 200_000
"""Maximum characters of a diff; the rest is cut off."""


async def staged_diff(path: Path) -> str:
    """Return the staged diff of a path's repository. Raises RequestError if git fails."""
    folder = path if await asyncio.to_thread(path.is_dir) else path.parent
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            "-C",
            str(folder),
            "diff",
            "--cached",
            "--no-color",
            "--no-ext-diff",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError:
        raise RequestError("git is not installed, or not on the PATH of the editor.") from None
    try:
        diff, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        raise RequestError(f"git: {errors.decode(errors='replace').strip().splitlines()[0]}")
    return diff.decode("utf-8", "replace")[:_MAX_DIFF_CHARACTERS]
