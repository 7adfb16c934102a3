"""From source files on the machine to the corpus and the tokenizer on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import tokenizers

from fim.secrets import detectors
from training import dialogues
from training.collect import HELD_OUT, Document, Source, documents, sources
from training.decontaminate import Benchmarks, benchmark_texts
from training.filters import Deduplicator, kept
from training.formats import Cell, Commit, cells_of
from training.history import commits
from training.private import redact
from training.tokenizer import add_chat_tokens, load_tokenizer, train_tokenizer

CHARACTERS_PER_PROJECT = 3_000_000
"""No single project may speak for a whole language."""

SHARES = {
    "javascript": 0.10,
    "typescript": 0.06,
    "go": 0.03,
    "rust": 0.02,
    "markdown": 0.015,
    "html": 0.01,
    "css": 0.005,
    "json": 0.005,
    "yaml": 0.005,
    "shell": 0.003,
    "c": 0.01,
}
"""Characters of a language, at most, for each of Python."""


def write_corpus(
    folder: Path,
    seed: int,
    *,
    downloads: Path | None = None,
    benchmarks: Sequence[Path] = (),
    histories: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write the corpus to `folder`; return what was kept and dropped, by step and project.

    Files: `train.jsonl`, `held_out.jsonl`, `commits.jsonl`, `notebooks.jsonl`, `dialogues.jsonl`.
    Held-out projects are read first, so that near-duplicates of them in other projects go too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    known = Benchmarks(text for file in benchmarks for text in benchmark_texts(file))
    duplicates = Deduplicator()
    counts, private = dict[str, int](), dict[str, int]()
    projects: dict[str, Any] = {}
    training, held_out, turns = list[Document](), list[Document](), list[dialogues.Turn]()
    found = sorted(
        sources(downloads), key=lambda source: (source.project not in HELD_OUT, source.project)
    )
    with detectors():
        for source in found:
            aside = source.project in HELD_OUT
            chosen = _capped(kept(documents(source), duplicates, known, counts), rng)
            chosen = [redacted(document, private) for document in chosen]
            (held_out if aside else training).extend(chosen)
            if not aside:
                turns += _tests(source, chosen, rng)
            size = sum(len(document.text) for document in chosen)
            projects[source.project] = {
                "licence": source.licence,
                "files": len(chosen),
                "characters": size,
                "held_out": aside,
            }
    training = _balanced(training, rng)
    turns += [turn for document in training for turn in _turns(document, rng)]
    notebooks = [*_notebooks(training), *_notebook_files(found)]
    _write(folder / "train.jsonl", map(asdict, training))
    _write(folder / "held_out.jsonl", map(asdict, held_out))
    _write(folder / "notebooks.jsonl", ([asdict(cell) for cell in book] for book in notebooks))
    _write(folder / "dialogues.jsonl", map(asdict, turns))
    changes = [change for repository in histories for change in commits(repository)]
    _write(folder / "commits.jsonl", map(asdict, changes))
    report = {
        "documents": counts,
        "private": private,
        "languages": _sizes(training),
        "commits": len(changes),
        "notebooks": len(notebooks),
        "dialogues": _tasks(turns),
        "projects": projects,
    }
    (folder / "corpus.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def redacted(document: Document, counts: dict[str, int]) -> Document:
    """Return a document with placeholders for personal data and secrets."""
    return Document(document.project, document.path, redact(document.text, counts))


def _capped(found: Iterable[Document], rng: random.Random) -> list[Document]:
    shuffled = list(found)
    rng.shuffle(shuffled)
    size, chosen = 0, []
    for document in shuffled:
        if size + len(document.text) <= CHARACTERS_PER_PROJECT:
            chosen.append(document)
            size += len(document.text)
    return chosen


def _balanced(found: list[Document], rng: random.Random) -> list[Document]:
    """Cut every other language back to its share of Python."""
    rng.shuffle(found)
    python = _sizes(found).get("python", 0)
    room = {language: share * python for language, share in SHARES.items()}
    chosen = []
    for document in found:
        if document.language != "python":
            room[document.language] -= len(document.text)
            if room[document.language] < 0:
                continue
        chosen.append(document)
    return chosen


def _sizes(found: Iterable[Document]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for document in found:
        sizes[document.language] = sizes.get(document.language, 0) + len(document.text)
    return sizes


def _tests(source: Source, chosen: list[Document], rng: random.Random) -> list[dialogues.Turn]:
    tests = documents(source, source.tests)
    python = [document for document in chosen if document.language == "python"]
    return list(dialogues.pairs_with_tests(python, tests, rng))


def _turns(document: Document, rng: random.Random) -> Iterator[dialogues.Turn]:
    """Yield dialogues about a file: of few functions, so that no file is asked about for long."""
    if document.language == "python":
        found = list(dialogues.functions(document.text))
        for function in found:
            if test := dialogues.examples_as_test(function):
                yield from dialogues.turns_for_test(function, test, rng)
        short = [function for function in found if function.short]
        for function in rng.sample(short, min(len(short), 4)):
            yield dialogues.turn_about(function, rng)


def _tasks(turns: Iterable[dialogues.Turn]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for turn in turns:
        counts[turn.task] = counts.get(turn.task, 0) + 1
    return counts


def _notebooks(found: Iterable[Document]) -> Iterator[list[Cell]]:
    """Yield notebooks made of docstrings' examples: text, code and what it prints."""
    for document in found:
        if document.language == "python" and ">>>" in document.text:
            for function in dialogues.functions(document.text):
                if cells := dialogues.doctest_cells(function.docstring):
                    yield cells


def _notebook_files(found: Iterable[Source]) -> Iterator[list[Cell]]:
    for source in found:
        if source.project not in HELD_OUT:
            for file in sorted(source.notebooks):
                try:
                    yield cells_of(file.read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    continue


def _write(file: Path, rows: Iterable[Any]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        _write_rows(lines, rows)


def _write_rows(lines: TextIO, rows: Iterable[Any]) -> None:
    for row in rows:
        lines.write(json.dumps(row) + "\n")


def _read(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_documents(file: Path) -> Iterator[Document]:
    """Yield the documents of a file that `write_corpus` wrote."""
    return (Document(**row) for row in _read(file))


def read_commits(folder: Path) -> Iterator[Commit]:
    """Yield the commits of a corpus."""
    return (Commit(**row) for row in _read(folder / "commits.jsonl"))


def read_notebooks(folder: Path) -> Iterator[list[Cell]]:
    """Yield the notebooks of a corpus."""
    return ([Cell(**cell) for cell in row] for row in _read(folder / "notebooks.jsonl"))


def read_dialogues(folder: Path) -> Iterator[dialogues.Turn]:
    """Yield the dialogues of a corpus."""
    return (dialogues.Turn(**row) for row in _read(folder / "dialogues.jsonl"))


def write_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Train on the corpus in `folder` and write `tokenizer.json` there, chat tokens last."""
    texts = (document.text for document in read_documents(folder / "train.jsonl"))
    inner = add_chat_tokens(train_tokenizer(texts, vocab_size))
    inner.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder / "tokenizer.json")
