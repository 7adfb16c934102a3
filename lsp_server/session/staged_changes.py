"""The staged changes of a git repository."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from engine.errors import RequestError
from workspace.git import GitError, staged_diff

_MAX_DIFF_BYTES = 200_000
"""Maximum bytes of a diff; the rest is cut off."""


async def read_staged_diff(path: Path) -> str:
    """Return the staged diff of a path's repository. Raises RequestError if git fails.

    git is stopped if the task is cancelled.
    """
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_read, path, cancelled)
    except GitError as error:
        raise RequestError(str(error)) from None
    finally:
        cancelled.set()


def _read(path: Path, cancelled: threading.Event) -> str:
    folder = path if path.is_dir() else path.parent
    return staged_diff(folder, _MAX_DIFF_BYTES, cancelled.is_set)
