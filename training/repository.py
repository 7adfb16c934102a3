"""A user's own repository as training data; some of its files are held out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.collect import LANGUAGES, CorpusDocument
from training.filters import MAX_CHARACTERS, MAX_LINE, Deduplicator
from workspace.files import read_text
from workspace.git import GitError, list_files

HELD_OUT_SHARE = 0.15
"""Share of the files that are held out."""
MIN_FILES = 4
"""Minimum files: fewer cannot be split into training files and held-out files."""

_NON_CODE_LANGUAGES = frozenset({"json", "yaml", "html", "css", "markdown"})
_SKIPPED_FOLDERS = frozenset(
    {".git", "node_modules", ".venv", "venv", "__pycache__", "dist", "build"}
)


@dataclass(frozen=True, slots=True)
class RepositorySplit:
    """The files of a repository, split for training and measuring."""

    training: list[CorpusDocument]
    held_out: list[CorpusDocument]


def read_repository(root: Path) -> list[CorpusDocument]:
    """Return the source files that git lists, or all source files if there is no git.

    Raises ValueError if `root` is not a folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder.")
    documents = []
    for file in _list_files(root):
        if file.suffix not in LANGUAGES or LANGUAGES[file.suffix] in _NON_CODE_LANGUAGES:
            continue
        try:
            text = read_text(file, 4 * MAX_CHARACTERS, inside=root)
        except (OSError, UnicodeDecodeError):
            continue
        lines = text.splitlines()
        if text.strip() and len(text) <= MAX_CHARACTERS and max(map(len, lines)) <= MAX_LINE:
            path = file.relative_to(root).as_posix()
            documents.append(CorpusDocument(root.resolve().name, path, text))
    return documents


def _list_files(root: Path) -> list[Path]:
    try:
        names = list_files(root, untracked=True)
    except GitError:
        names = []
    if names:
        return sorted(root / name for name in names)
    # There is no git, or the folder is ignored by the repository around it.
    return sorted(
        file
        for file in root.rglob("*")
        if not _SKIPPED_FOLDERS.intersection(file.relative_to(root).parts)
    )


def split_repository(documents: Sequence[CorpusDocument], seed: int) -> RepositorySplit:
    """Hold out random files; their near duplicates are not used for training.

    Raises ValueError if the repository is too small.
    """
    if len(documents) < MIN_FILES:
        raise ValueError(
            f"There are {len(documents)} source files. At least {MIN_FILES} are needed, to train "
            "on some and measure on others."
        )
    shuffled = list(documents)
    random.Random(seed).shuffle(shuffled)
    count = max(1, round(HELD_OUT_SHARE * len(shuffled)))
    seen = Deduplicator()
    held_out = [document for document in shuffled[:count] if seen.add(document.text) is None]
    training = [document for document in shuffled[count:] if seen.add(document.text) is None]
    if not training:
        raise ValueError("All source files are copies of each other: there is nothing to learn.")
    return RepositorySplit(training, held_out)
