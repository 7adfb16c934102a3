"""The files of a corpus: JSON lines of documents, commits, notebooks and dialogues; a report."""

from __future__ import annotations

import json
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


def _read_json_lines(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def load_documents(file: Path) -> Iterator[CorpusDocument]:
    """Yield the documents of `train.jsonl` or `held_out.jsonl`."""
    return (CorpusDocument(**row) for row in _read_json_lines(file))


def load_commits(folder: Path) -> Iterator[Commit]:
    """Yield the commits of the corpus in `folder`."""
    return (Commit(**row) for row in _read_json_lines(folder / "commits.jsonl"))


def load_notebooks(folder: Path) -> Iterator[list[NotebookCell]]:
    """Yield the notebooks of the corpus in `folder`."""
    rows = _read_json_lines(folder / "notebooks.jsonl")
    return ([NotebookCell(**cell) for cell in row] for row in rows)


def load_dialogues(folder: Path) -> Iterator[MinedDialogue]:
    """Yield the dialogues of the corpus in `folder`."""
    return (MinedDialogue(**row) for row in _read_json_lines(folder / "dialogues.jsonl"))
