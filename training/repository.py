"""A user's own repository as training data: its files, some of them held out."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.collect import LANGUAGES, Document
from training.filters import MAX_LINE, Deduplicator
from training.holes import LineHole, code_lines, cut_line

HELD_OUT_SHARE = 0.15
MIN_FILES = 4
"""Fewer cannot be split into what is learned and what is measured with."""

_MAX_CHARACTERS = 400_000
_NO_CODE = frozenset({"json", "yaml", "html", "css", "markdown"})
_SKIPPED = frozenset({".git", "node_modules", ".venv", "venv", "__pycache__", "dist", "build"})


@dataclass(frozen=True, slots=True)
class Split:
    """Files to learn from, and files to measure with."""

    training: list[Document]
    held_out: list[Document]


def read_repository(root: Path) -> list[Document]:
    """Return the source files of a repository: what git lists, or every file where there is no git.

    Raises ValueError where `root` is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no folder.")
    found = []
    for file in _files(root):
        if file.suffix not in LANGUAGES or LANGUAGES[file.suffix] in _NO_CODE:
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        lines = text.splitlines()
        if text.strip() and len(text) <= _MAX_CHARACTERS and max(map(len, lines)) <= MAX_LINE:
            found.append(Document(root.resolve().name, file.relative_to(root).as_posix(), text))
    return found


def _files(root: Path) -> list[Path]:
    command = [
        "git",
        "-C",
        str(root),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    listed = [name for name in done.stdout.decode("utf-8", "replace").split("\0") if name]
    if done.returncode == 0 and listed:
        return sorted(root / name for name in listed)
    # No git, or a folder that the repository around it ignores.
    return sorted(
        file for file in root.rglob("*") if not _SKIPPED.intersection(file.relative_to(root).parts)
    )


def split(documents: Sequence[Document], seed: int) -> Split:
    """Set files aside at random; near-copies of them are not learned from.

    Raises ValueError for a repository that is too small.
    """
    if len(documents) < MIN_FILES:
        raise ValueError(
            f"There are {len(documents)} source files; at least {MIN_FILES} are needed, to learn "
            "from some and measure with others."
        )
    shuffled = list(documents)
    random.Random(seed).shuffle(shuffled)
    count = max(1, round(HELD_OUT_SHARE * len(shuffled)))
    known = Deduplicator()
    held_out = [one for one in shuffled[:count] if known.add(one.text) is None]
    training = [one for one in shuffled[count:] if known.add(one.text) is None]
    if not training:
        raise ValueError("All source files are copies of each other: there is nothing to learn.")
    return Split(training, held_out)


def line_holes(documents: Iterable[Document], count: int, rng: random.Random) -> list[LineHole]:
    """Draw `count` lines of code, each with the cursor at a random column of it."""
    lines = [
        (document, line)
        for document in documents
        for line in (
            code_lines(document.text) if document.language == "python" else _lines(document.text)
        )
    ]
    rng.shuffle(lines)
    return [cut_line(document.text, line, rng.random()) for document, line in lines[:count]]


def _lines(text: str) -> list[int]:
    """Return the lines that may be code in a language that is not parsed here."""
    marks = ("//", "#", "/*", "*")
    return [
        number
        for number, line in enumerate(text.split("\n"))
        if line.strip() and not line.lstrip().startswith(marks)
    ]
