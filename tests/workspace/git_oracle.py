"""git itself as the reference for ignore rules, in a repository whose configuration is plain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path


def make_repository(folder: Path) -> Path:
    """Create an empty repository and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    return folder


def git(folder: Path, *arguments: str, content: bytes = b"", check: bool = True) -> bytes:
    """Run git as a user with an identity, and without this machine's configuration."""
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, input=content, check=check, capture_output=True, env=kept).stdout


def ignored_by_git(folder: Path, paths: Iterable[str]) -> set[str]:
    """Return the paths that git ignores, also if it tracks them."""
    content = b"".join(os.fsencode(path) + b"\0" for path in paths)
    output = git(
        folder, "check-ignore", "--no-index", "--stdin", "-z", content=content, check=False
    )
    return {os.fsdecode(path) for path in output.split(b"\0") if path}
