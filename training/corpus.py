"""The files of a corpus: JSON lines of documents, commits, notebooks and dialogues; a report.

Each file is either plain (`train.jsonl`) or, in a pack, in compressed parts (`train-00.jsonl.xz`).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

from training.collect import CorpusDocument
from training.dialogues import MinedDialogue
from training.formats import Commit, NotebookCell


class ProjectReport(TypedDict):
    """Licence and size of one project in the corpus."""

    licence: str
    files: int
    characters: int
    held_out: bool


class CorpusReport(TypedDict):
    """Content of `corpus.json`: counts and licences."""

    documents: dict[str, int]
    """Number of files by outcome of the filters."""
    private: dict[str, int]
    """Number of placeholders for personal data and secrets, by kind."""
    languages: dict[str, int]
    """Characters of the training documents, by language."""
    commits: int
    notebooks: int
    dialogues: dict[str, int]
    """Number of dialogues, by task."""
    projects: dict[str, ProjectReport]


def write_json_lines(file: Path, rows: Iterable[object]) -> None:
    """Write each row as a line of JSON."""
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row) + "\n")


def read_rows(folder: Path, name: str) -> Iterator[Any]:
    """Yield the rows of `NAME.jsonl` in `folder`, else those of its parts `NAME-*.jsonl.xz`.

    Raises FileNotFoundError if the folder has neither.
    """
    return read_files(row_files(folder, name))


def row_files(folder: Path, name: str) -> list[Path]:
    """Return `NAME.jsonl` in `folder`, else its parts `NAME-*.jsonl.xz`.

    Raises FileNotFoundError if the folder has neither.
    """
    file = folder / f"{name}.jsonl"
    files = [file] if file.exists() else sorted(folder.glob(f"{name}-*.jsonl.xz"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has neither {name}.jsonl nor {name}-*.jsonl.xz: "
            f"run `python -m training collect --folder {folder}` first"
        )
    return files


def read_files(files: Iterable[Path]) -> Iterator[Any]:
    """Yield the rows of files of JSON lines, some of which may be compressed."""
    for file in files:
        open_file = lzma.open if file.suffix == ".xz" else open
        with open_file(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def load_train(folder: Path) -> Iterator[CorpusDocument]:
    """Yield the training documents of the corpus in `folder`."""
    return (CorpusDocument(**row) for row in read_rows(folder, "train"))


def load_held_out(folder: Path) -> Iterator[CorpusDocument]:
    """Yield the documents of the held-out projects of the corpus in `folder`."""
    return (CorpusDocument(**row) for row in read_rows(folder, "held_out"))


def load_commits(folder: Path) -> Iterator[Commit]:
    """Yield the commits of the corpus in `folder`."""
    return (Commit(**row) for row in read_rows(folder, "commits"))


def load_notebooks(folder: Path) -> Iterator[list[NotebookCell]]:
    """Yield the notebooks of the corpus in `folder`."""
    rows = read_rows(folder, "notebooks")
    return ([NotebookCell(**cell) for cell in row] for row in rows)


def load_dialogues(folder: Path) -> Iterator[MinedDialogue]:
    """Yield the dialogues of the corpus in `folder`."""
    return (MinedDialogue(**row) for row in read_rows(folder, "dialogues"))
