"""Files in which nothing is suggested, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pathspec import GitIgnoreSpec
from pygls.uris import to_fs_path

MAX_CHARACTERS = 2_000_000
"""A file larger than this is data, or generated."""

_LOOKED_AT = 8192


def unsuitable_text(text: str) -> str | None:
    """Return why nothing is suggested in such a text, None if something may be."""
    if len(text) > MAX_CHARACTERS:
        return f"the file is larger than {MAX_CHARACTERS // 1_000_000} million characters"
    if "\0" in text[:_LOOKED_AT]:
        return "the file is binary"
    return None


class Exclusions:
    """What settings and .gitignore say of files; each file is looked up on disk once."""

    def __init__(self, patterns: Sequence[str] = (), *, gitignore: bool = False) -> None:
        self._patterns = patterns
        self._spec = GitIgnoreSpec.from_lines(patterns)
        self._gitignore = gitignore
        self._ignored: dict[str, bool] = {}

    def by_pattern(self, uri: str) -> str | None:
        """Return why a file is excluded by the user's patterns; None if it is not."""
        path = to_fs_path(uri)
        if path is not None and self._spec.match_file(Path(path).as_posix().lstrip("/")):
            return f"{Path(path).name} is excluded by starcoder.exclude"
        return None

    async def by_git(self, uri: str) -> str | None:
        """Return that git ignores a file; None if it does not, or nobody asked."""
        if not self._gitignore or (path := to_fs_path(uri)) is None:
            return None
        if uri not in self._ignored:
            self._ignored[uri] = await asyncio.to_thread(is_ignored, Path(path))
        return "git ignores this file" if self._ignored[uri] else None

    def forget(self, uri: str) -> None:
        """Look a file up anew: it was closed, and .gitignore may have changed since."""
        self._ignored.pop(uri, None)


def is_ignored(file: Path) -> bool:
    """Whether the .gitignore files between a file and the root of its repository ignore it."""
    root = next((folder for folder in file.parents if (folder / ".git").exists()), None)
    if root is None:
        return False
    ignored = False
    folders = [root, *(root / part for part in _steps(file.parent, root))]
    for folder in folders:  # the nearest .gitignore has the last word
        found = folder / ".gitignore"
        if found.is_file():
            verdict = _spec(found, found.stat().st_mtime_ns).check_file(
                file.relative_to(folder).as_posix()
            )
            ignored = ignored if verdict.include is None else verdict.include
    return ignored


def _steps(folder: Path, root: Path) -> list[Path]:
    parts = folder.relative_to(root).parts
    return [Path(*parts[: n + 1]) for n in range(len(parts))]


@lru_cache(64)
def _spec(file: Path, _changed: int) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8", errors="replace").splitlines())
