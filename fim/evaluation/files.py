"""The source files of a repository."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigurationError
from syntax.languages import LANGUAGES

_MAX_CHARACTERS = 400_000


@dataclass(frozen=True, slots=True)
class File:
    """A source file."""

    path: str
    """Within its folder, forward slashes; behind the folder's name where there are several."""
    language: str
    text: str
    root: Path = Path()
    """The folder that it was found in."""
    absolute_path: Path = Path()
    """Where it is on disk."""


def source_files(*roots: Path) -> list[File]:
    """Return the source files that git tracks in folders, or all where there is no git.

    Raises ConfigurationError where a root is no folder.
    """
    return [file for root in roots for file in _in_folder(root, named=len(roots) > 1)]


def _in_folder(root: Path, *, named: bool) -> Iterator[File]:
    if not root.is_dir():
        raise ConfigurationError(f"{root} is neither a folder nor a JSONL file.")
    command = ["git", "-C", str(root), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, check=False)
    names = [name for name in done.stdout.decode("utf-8", "replace").split("\0") if name]
    paths = [root / name for name in names] if done.returncode == 0 and names else root.rglob("*")
    for path in sorted(paths):
        if path.suffix in LANGUAGES and path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if text.strip() and len(text) <= _MAX_CHARACTERS:
                name = path.relative_to(root).as_posix()
                shown = f"{root.name}/{name}" if named else name
                yield File(shown, LANGUAGES[path.suffix], text, root, path.resolve())


def group_by_folder(files: Sequence[File]) -> list[list[File]]:
    """Return the files of each folder, so that a large one does not speak for all."""
    roots = dict.fromkeys(file.root for file in files)
    return [[file for file in files if file.root == root] for root in roots]
