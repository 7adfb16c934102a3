"""The source files of a project on disk: which may be read, and which have changed since."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath

from syntax.languages import LANGUAGES
from workspace.files import read_text, regular_file_stat
from workspace.git import GitError, list_files
from workspace.repository import is_ignored, rule_files

MAX_FILES = 5000
MAX_BYTES = 200_000
"""Maximum bytes of a file that is read. Larger files are data or generated code."""

_EXCLUDED_FOLDERS = frozenset(
    {
        "node_modules",
        "__pycache__",
        "venv",
        "env",
        "site-packages",
        "target",
        "build",
        "dist",
        "vendor",
        "third_party",
    }
)
"""Folders with third-party code or build results."""

Times = dict[str, int]
"""Modification times of files in nanoseconds, by their paths within the project."""
OUTDATED = -1
"""Time of a file whose text must be read again, or be forgotten if the file does not exist."""


_Mark = tuple[int, int, int] | None
"""Time, size and inode of a file; None if it is missing."""


class SourceFiles:
    """The source files of one folder. The methods read the disk, so threads call them."""

    def __init__(
        self,
        root: Path,
        is_allowed: Callable[[Path], bool],
        is_ignored: Callable[[Path], bool],
        *,
        use_git: bool,
    ) -> None:
        """`is_allowed` says whether prompts may contain a file, `is_ignored` if git ignores it."""
        self.root = root
        self._use_git = use_git
        self._is_allowed, self._is_ignored = is_allowed, is_ignored
        self._rules: dict[str, _Mark] = {}
        """The files with git's rules for the project's folder, as they were at the last listing."""
        self._inner_rules: dict[str, _Mark] = {}
        """The ignore files of its subfolders."""
        self.stopped = False

    def stop(self) -> None:
        """End a listing that runs, because the server exits and must not wait for it."""
        self.stopped = True

    def times(self) -> Times:
        """List the files that may be read and are not too large."""
        # The rules are read first: a change during the listing makes it outdated.
        rules = {str(file): _mark(file) for file in rule_files(self.root.absolute())}
        inner_rules: dict[str, _Mark] = {}
        times: Times = {}
        for path in self._source_files():
            if self.stopped:
                break
            for folder in _folders(path):
                if folder not in inner_rules:
                    inner_rules[folder] = self._mark_of_rules(folder)
            stat = regular_file_stat(self.root / path, inside=self.root)
            if stat is not None and stat.st_size <= MAX_BYTES:
                times[path] = stat.st_mtime_ns
        self._rules, self._inner_rules = rules, inner_rules
        return times

    def read(self, path: str) -> str | None:
        """Return the text of a file, None if it cannot be read."""
        try:
            return read_text(self.root / path, MAX_BYTES, inside=self.root)
        except (OSError, UnicodeDecodeError):
            return None

    def time(self, path: str) -> int | None:
        """Return when a file was changed, None if it is missing. This follows links."""
        try:
            return os.stat(self.root / path).st_mtime_ns
        except (OSError, ValueError):
            return None

    def may_show(self, path: str) -> bool:
        """Whether prompts may contain an open document. This may run git."""
        file = self.root / path
        return self._is_allowed(file) and not self._is_ignored(file)

    def changed_rules(self) -> Callable[[str], bool]:
        """Return a function that says whether git's rules for a path have changed since `times`.

        The function reads each ignore file once.
        """
        if any(_mark(file) != mark for file, mark in self._rules.items()):
            return lambda _: True
        folders: dict[str, bool] = {}

        def has_changed(path: str) -> bool:
            for folder in _folders(path):
                if folder not in folders:
                    mark = self._mark_of_rules(folder)
                    folders[folder] = mark != self._inner_rules.setdefault(folder, mark)
                if folders[folder]:
                    return True
            return False

        return has_changed

    def _mark_of_rules(self, folder: str) -> _Mark:
        return _mark(self.root / folder / ".gitignore")

    def _source_files(self) -> Iterator[str]:
        """Yield the paths of source files that may be read, at most `MAX_FILES`."""
        source_files = (path for path in self._files() if Path(path).suffix in LANGUAGES)
        allowed = (path for path in source_files if self._is_allowed(self.root / path))
        return islice(allowed, MAX_FILES)

    def _files(self) -> Iterable[str]:
        """Return the paths of all files that git tracks or does not ignore."""
        if self._use_git:
            with suppress(GitError):
                return list_files(self.root, untracked=True, should_stop=lambda: self.stopped)
        real_root = Path(os.path.realpath(self.root))
        return (path for path in _all_files(self.root) if not is_ignored(real_root / path))


def _mark(file: Path | str) -> _Mark:
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _folders(path: str) -> Iterator[str]:
    """Yield the folders of a path within the project, the innermost first; `.` is the project."""
    return map(str, PurePosixPath(path).parents)


def _all_files(root: Path) -> Iterator[str]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and name not in _EXCLUDED_FOLDERS
        )
        for name in sorted(names):
            yield (Path(folder) / name).relative_to(root).as_posix()
