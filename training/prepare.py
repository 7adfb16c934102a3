"""Make the corpus and the tokenizer from the source files on this machine."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import tokenizers

from fim.secrets import detectors
from training.collect import (
    HELD_OUT,
    CorpusDocument,
    SourceProject,
    find_projects,
    read_documents,
)
from training.corpus import CorpusReport, ProjectReport, load_train, write_json_lines
from training.decontaminate import BenchmarkTexts, read_benchmark_texts
from training.dialogues import (
    MinedDialogue,
    dialogue_about,
    dialogues_for_test,
    dialogues_from_tests,
)
from training.doctests import doctest_cells, examples_as_test
from training.filters import Deduplicator, filter_documents
from training.formats import NotebookCell, parse_notebook
from training.functions import documented_functions
from training.history import read_commits
from training.redaction import redact
from training.tokenizer import add_chat_tokens, load_tokenizer, train_tokenizer

CHARACTERS_PER_PROJECT = 3_000_000
"""Maximum characters of one project, so that none dominates its language."""

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
"""Maximum characters of each other language, as a share of those of Python."""

_MAX_FUNCTIONS_PER_FILE = 4
"""Maximum functions of a file with a dialogue, so that no file dominates the dialogues."""


def write_corpus(
    folder: Path,
    seed: int,
    *,
    downloads: Path | None = None,
    benchmarks: Sequence[Path] = (),
    histories: Sequence[Path] = (),
) -> CorpusReport:
    """Write the corpus to `folder`; return the counts of kept and dropped data.

    Files: `train.jsonl`, `held_out.jsonl`, `commits.jsonl`, `notebooks.jsonl`, `dialogues.jsonl`.
    Held-out projects are read first, so that their near duplicates in other projects are dropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    projects = sorted(
        find_projects(downloads), key=lambda project: (project.name not in HELD_OUT, project.name)
    )
    texts = BenchmarkTexts(text for file in benchmarks for text in read_benchmark_texts(file))
    reader = _ProjectReader(texts, rng)
    with detectors():
        for project in projects:
            reader.read(project)
    training = _limit_languages(reader.training, rng)
    dialogues = [*reader.dialogues, *(d for document in training for d in _mine(document, rng))]
    notebooks = [*_doctest_notebooks(training), *_notebook_files(projects)]
    commits = [commit for repository in histories for commit in read_commits(repository)]
    for name, rows in (
        ("train", map(asdict, training)),
        ("held_out", map(asdict, reader.held_out)),
        ("notebooks", ([asdict(cell) for cell in notebook] for notebook in notebooks)),
        ("dialogues", map(asdict, dialogues)),
        ("commits", map(asdict, commits)),
    ):
        write_json_lines(folder / f"{name}.jsonl", rows)
    report = CorpusReport(
        documents=reader.outcomes,
        private=reader.redactions,
        languages=_characters_by_language(training),
        commits=len(commits),
        notebooks=len(notebooks),
        dialogues=dict(Counter(dialogue.task for dialogue in dialogues)),
        projects=reader.projects,
    )
    (folder / "corpus.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


class _ProjectReader:
    """Reads, filters and redacts the files of projects, and counts the outcomes."""

    def __init__(self, benchmarks: BenchmarkTexts, rng: random.Random) -> None:
        self._benchmarks, self._rng = benchmarks, rng
        self._deduplicator = Deduplicator()
        self.training = list[CorpusDocument]()
        self.held_out = list[CorpusDocument]()
        self.dialogues = list[MinedDialogue]()
        self.outcomes = dict[str, int]()
        self.redactions = dict[str, int]()
        self.projects = dict[str, ProjectReport]()

    def read(self, project: SourceProject) -> None:
        """Add the documents of a project and, unless it is held out, dialogues from its tests."""
        is_held_out = project.name in HELD_OUT
        documents = filter_documents(
            read_documents(project), self._deduplicator, self._benchmarks, self.outcomes
        )
        chosen = [
            _redact_document(document, self.redactions)
            for document in _limit_project(documents, self._rng)
        ]
        if is_held_out:
            self.held_out += chosen
        else:
            self.training += chosen
            python = [document for document in chosen if document.language == "python"]
            tests = read_documents(project, project.tests)
            self.dialogues += dialogues_from_tests(python, tests, self._rng)
        self.projects[project.name] = ProjectReport(
            licence=project.licence,
            files=len(chosen),
            characters=sum(len(document.text) for document in chosen),
            held_out=is_held_out,
        )


def _redact_document(document: CorpusDocument, counts: dict[str, int]) -> CorpusDocument:
    return CorpusDocument(document.project, document.path, redact(document.text, counts))


def _limit_project(documents: Iterable[CorpusDocument], rng: random.Random) -> list[CorpusDocument]:
    """Choose documents at random, up to the maximum characters of a project."""
    shuffled = list(documents)
    rng.shuffle(shuffled)
    size, chosen = 0, []
    for document in shuffled:
        if size + len(document.text) <= CHARACTERS_PER_PROJECT:
            chosen.append(document)
            size += len(document.text)
    return chosen


def _limit_languages(documents: list[CorpusDocument], rng: random.Random) -> list[CorpusDocument]:
    """Shuffle the documents and limit every other language to its share of Python."""
    rng.shuffle(documents)
    python = _characters_by_language(documents).get("python", 0)
    remaining = {language: share * python for language, share in SHARES.items()}
    chosen = []
    for document in documents:
        if document.language != "python":
            remaining[document.language] -= len(document.text)
            if remaining[document.language] < 0:
                continue
        chosen.append(document)
    return chosen


def _characters_by_language(documents: Iterable[CorpusDocument]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.language] = sizes.get(document.language, 0) + len(document.text)
    return sizes


def _mine(document: CorpusDocument, rng: random.Random) -> Iterator[MinedDialogue]:
    """Yield dialogues about some functions of a file."""
    if document.language == "python":
        functions = list(documented_functions(document.text))
        for function in functions:
            if test := examples_as_test(function):
                yield from dialogues_for_test(function, test, rng)
        short = [function for function in functions if function.is_short]
        for function in rng.sample(short, min(len(short), _MAX_FUNCTIONS_PER_FILE)):
            yield dialogue_about(function, rng)


def _doctest_notebooks(documents: Iterable[CorpusDocument]) -> Iterator[list[NotebookCell]]:
    """Yield notebooks made of the examples in docstrings: text, code and output."""
    for document in documents:
        if document.language == "python" and ">>>" in document.text:
            for function in documented_functions(document.text):
                if cells := doctest_cells(function.docstring):
                    yield cells


def _notebook_files(projects: Iterable[SourceProject]) -> Iterator[list[NotebookCell]]:
    """Yield the notebooks of the projects that are not held out."""
    for project in projects:
        if project.name not in HELD_OUT:
            for file in sorted(project.notebooks):
                try:
                    yield parse_notebook(file.read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    continue


def write_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Train a tokenizer on the corpus in `folder` and write it to `tokenizer.json` there.

    ChatML's tokens get the last ids.
    """
    texts = (document.text for document in load_train(folder))
    tokenizer = add_chat_tokens(train_tokenizer(texts, vocab_size))
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder / "tokenizer.json")
