"""The source files of a repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.errors import ConfigurationError
from fim.evaluation.added_lines import AddedLines
from fim.evaluation.commit_edits import CommitEdit
from syntax.languages import LANGUAGES
from workspace.files import read_text
from workspace.git import GitError, list_files

MAX_BYTES = 1_000_000
"""Maximum bytes of a file in which holes are cut."""
_MAX_CHARACTERS = 400_000


class Sample(StrEnum):
    """Kinds of lines from which holes and passages are drawn."""

    RANDOM = "random"
    """All lines. The rest of the project is as it is now."""
    ADDED = "added"
    """Lines that a change added. The rest of the project is as it was before the change."""


@dataclass(frozen=True, slots=True)
class File:
    """A source file."""

    path: str
    """Path within the folder, with `/`; with several folders, it begins with the folder's name."""
    language: str
    text: str
    root: Path = Path()
    """The folder that was searched."""
    absolute_path: Path = Path()
    """Path of the file on disk."""
    added: AddedLines | None = None
    """The lines that may be cut out; None for all lines."""
    edits: tuple[CommitEdit, ...] = ()
    """All edits of the commit that added these lines."""

    def may_cut(self, start: int, end: int) -> bool:
        """Whether a part of the text may be cut out."""
        return self.added is None or self.added.contain(self.text, start, end)

    @property
    def sample(self) -> Sample:
        """The kind of lines that may be cut out."""
        return Sample.RANDOM if self.added is None else Sample.ADDED


def source_files(*roots: Path) -> list[File]:
    """Return the source files in folders: those that git tracks, or all without git.

    Raises ConfigurationError if a root is not a folder.
    """
    return [file for root in roots for file in _in_folder(root, prefix_name=len(roots) > 1)]


def _in_folder(root: Path, *, prefix_name: bool) -> Iterator[File]:
    if not root.exists():
        raise ConfigurationError(f"There is no folder and no file {root}.")
    if not root.is_dir():
        raise ConfigurationError(f"{root} is not a folder. Give a folder with source files.")
    try:
        names = list_files(root, untracked=False)
    except GitError:
        names = []
    for path in sorted([root / name for name in names] or root.rglob("*")):
        if path.suffix in LANGUAGES:
            try:
                text = read_text(path, MAX_BYTES, inside=root)
            except (OSError, UnicodeDecodeError):
                continue
            if is_usable(text):
                name = path.relative_to(root).as_posix()
                shown_path = f"{root.name}/{name}" if prefix_name else name
                yield File(shown_path, LANGUAGES[path.suffix], text, root, path.resolve())


def is_usable(text: str) -> bool:
    """Whether a text is neither empty nor so long that it is data."""
    return bool(text.strip()) and len(text) <= _MAX_CHARACTERS


def group_by_folder(files: Sequence[File]) -> list[list[File]]:
    """Return the files of each folder, so that a large folder does not dominate the sample."""
    roots = dict.fromkeys(file.root for file in files)
    return [[file for file in files if file.root == root] for root in roots]
