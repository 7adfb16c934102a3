"""The git repository around a path, found without git, and its ignore rules read without git.

This is for the case that git may not run. It differs from git in two points, because the index and
most of the configuration are not read: a tracked file that a pattern matches counts as ignored, and
of the user's configuration only the excludes file at its default place is known.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workspace.files import read_bytes
from workspace.ignore_patterns import IgnoreFile, Pattern, is_excluded, parse_file

_MAX_IGNORE_BYTES = 1_000_000
_MAX_LINK_BYTES = 4096
_GIT = ".git"

Mark = tuple[int, int, int] | None
"""Time, size and inode of a file; None if it is missing."""
Signature = tuple[Mark, ...]
"""The marks of the files on which an answer depends."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A working tree. A linked worktree and a submodule have a file `.git` that names a folder."""

    root: Path
    git_folder: Path
    """The folder with the index of this working tree."""
    common_folder: Path
    """The folder that all worktrees of the repository share."""

    @property
    def info_exclude(self) -> Path:
        """The ignore file of this clone, which is not committed."""
        return self.common_folder / "info" / "exclude"

    def ignore_files(self, folder: Path) -> Iterator[Path]:
        """Yield the paths of the .gitignore files from the root to a folder, existing or not."""
        yield self.root / ".gitignore"
        inner = self.root
        for part in folder.relative_to(self.root).parts:
            inner /= part
            yield inner / ".gitignore"


def find_repository(folder: Path) -> Repository | None:
    """Return the repository of the working tree that contains a folder, None if there is none."""
    for root in (folder, *folder.parents):
        git = root / _GIT
        status = _status(git)
        if status is not None:
            git_folder = git if stat.S_ISDIR(status.st_mode) else _linked(git, b"gitdir:")
            if git_folder is not None:
                common = _linked(git_folder / "commondir") or git_folder
                return Repository(root, git_folder, common)
    return None


def linked_folders(path: Path) -> list[Path]:
    """Return the folders above a path that are links, the outermost first."""
    return [folder for folder in reversed(path.parents) if folder.is_symlink()]


def is_ignored(path: Path) -> bool:
    """Whether the ignore files of a path's repository match it. The folder has no links."""
    repository = find_repository(path.parent)
    if repository is None:
        return False
    names = [os.fsencode(part) for part in path.relative_to(repository.root).parts]
    if os.fsencode(_GIT) in names:
        return False
    return is_excluded(names, _read_all(repository, path.parent))


def signature(path: Path) -> Signature:
    """Return what changes when the answer of git about a path may have changed."""
    repository = find_repository(path.parent)
    files = [default_excludes_file(), *user_configurations()]
    if repository is None:
        return tuple(_mark(_target_status(file)) for file in files)
    files += [repository.git_folder / "index", repository.info_exclude]
    marks = [_mark(_target_status(file)) for file in files]
    return (*marks, *(_mark(_status(file)) for file in repository.ignore_files(path.parent)))


def rule_files(folder: Path) -> list[Path]:
    """Return the files, existing or not, whose rules ignore files directly in a folder."""
    files = [default_excludes_file(), *user_configurations()]
    if (repository := find_repository(folder)) is not None:
        files += [repository.info_exclude, *repository.ignore_files(folder)]
    return files


def default_excludes_file() -> Path:
    """Return where git looks for the user's ignore file unless core.excludesFile is set."""
    return _configuration_folder() / "ignore"


def user_configurations() -> list[Path]:
    """Return the places of the user's configuration of git."""
    return [_configuration_folder() / "config", Path(os.path.expanduser("~/.gitconfig"))]


def _configuration_folder() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(folder) / "git"


def _read_all(repository: Repository, folder: Path) -> Sequence[IgnoreFile]:
    """Return the ignore files that apply in a folder; later ones override those before them."""
    outside = (default_excludes_file(), repository.info_exclude)
    files = [IgnoreFile(_patterns(file, _target_status(file))) for file in outside]
    for file in repository.ignore_files(folder):
        depth = len(file.parent.relative_to(repository.root).parts)
        files.append(IgnoreFile(_patterns(file, _status(file)), depth))
    return files


def _patterns(file: Path, status: os.stat_result | None) -> tuple[Pattern, ...]:
    is_regular = status is not None and stat.S_ISREG(status.st_mode)
    return _read(file, _mark(status)) if is_regular else ()


@lru_cache(256)
def _read(file: Path, _mark: Mark) -> tuple[Pattern, ...]:
    """Return the patterns of a file; `_mark` makes the cache miss after a change."""
    try:
        return parse_file(read_bytes(file, _MAX_IGNORE_BYTES))
    except OSError:
        return ()


def _linked(file: Path, prefix: bytes = b"") -> Path | None:
    """Return the folder that a file names, relative to the folder of the file."""
    try:
        content = read_bytes(file, _MAX_LINK_BYTES)
    except OSError:
        return None
    name = content.removeprefix(prefix).strip()
    if not content.startswith(prefix) or not name or b"\0" in name:
        return None
    return Path(os.path.normpath(file.parent / os.fsdecode(name)))


def _status(file: Path) -> os.stat_result | None:
    """Return the status of a file in the tree; git follows no link to an ignore file there."""
    try:
        return os.lstat(file)
    except (OSError, ValueError):
        return None


def _target_status(file: Path) -> os.stat_result | None:
    """Return the status of a file outside of the tree, which may be a link."""
    try:
        return os.stat(file)
    except (OSError, ValueError):
        return None


def _mark(status: os.stat_result | None) -> Mark:
    return None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino)
