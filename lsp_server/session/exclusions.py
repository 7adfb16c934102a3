"""Files in which nothing is suggested, and the reason for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pathspec import GitIgnoreSpec
from pygls.uris import to_fs_path

from workspace.files import read_bytes, regular_file_stat

MAX_CHARACTERS = 2_000_000
"""Maximum characters of a file with suggestions. A larger file is data or generated code."""

_MAX_GITIGNORE_BYTES = 1_000_000

_NUM_BINARY_CHECK = 8192
"""Characters at the start of a text that are searched for a null character."""


def unsuitable_text(text: str) -> str | None:
    """Return why nothing is suggested in this text, None if something may be."""
    if len(text) > MAX_CHARACTERS:
        return f"the file is larger than {MAX_CHARACTERS // 1_000_000} million characters"
    if "\0" in text[:_NUM_BINARY_CHECK]:
        return "the file is binary"
    return None


class Exclusions:
    """Applies the user's patterns and .gitignore; looks each file up on disk only once."""

    def __init__(self, patterns: Sequence[str] = (), *, gitignore: bool = False) -> None:
        self._spec = GitIgnoreSpec.from_lines(patterns)
        self._gitignore = gitignore
        self._ignored: dict[str, bool] = {}

    def by_pattern(self, uri: str) -> str | None:
        """Return why the user's patterns exclude a file, None if they do not."""
        path = to_fs_path(uri)
        if path is not None and self._spec.match_file(Path(path).as_posix().lstrip("/")):
            return f"{Path(path).name} is excluded by starcoder.exclude"
        return None

    async def by_git(self, uri: str) -> str | None:
        """Return a reason if git ignores the file and .gitignore is respected, else None."""
        if not self._gitignore or (path := to_fs_path(uri)) is None:
            return None
        if uri not in self._ignored:
            self._ignored[uri] = await asyncio.to_thread(is_ignored, Path(path))
        return "git ignores this file" if self._ignored[uri] else None

    def forget(self, uri: str) -> None:
        """Look a closed file up again next time, since .gitignore may have changed."""
        self._ignored.pop(uri, None)


def is_ignored(file: Path) -> bool:
    """Whether the .gitignore files between a file and its repository's root ignore it."""
    root = next((folder for folder in file.parents if (folder / ".git").exists()), None)
    if root is None:
        return False
    ignored = False
    folders = [root, *(root / part for part in _folders_between(root, file.parent))]
    for folder in folders:  # the nearest .gitignore overrides the others
        gitignore = folder / ".gitignore"
        status = regular_file_stat(gitignore, inside=root)
        if status is not None:
            spec = _read_spec(gitignore, root, status.st_mtime_ns)
            result = spec.check_file(file.relative_to(folder).as_posix())
            ignored = ignored if result.include is None else result.include
    return ignored


def _folders_between(root: Path, folder: Path) -> list[Path]:
    """Return the folders from below the root down to this folder, relative to the root."""
    parts = folder.relative_to(root).parts
    return [Path(*parts[: depth + 1]) for depth in range(len(parts))]


@lru_cache(64)
def _read_spec(file: Path, root: Path, _mtime_ns: int) -> GitIgnoreSpec:
    """Return the patterns of a .gitignore; `_mtime_ns` makes the cache miss after a change."""
    try:
        text = read_bytes(file, _MAX_GITIGNORE_BYTES, inside=root).decode("utf-8", "replace")
    except OSError:
        text = ""
    return GitIgnoreSpec.from_lines(text.splitlines())
