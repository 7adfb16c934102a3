"""The work on one document or one project, in several processes if there are several cores.

A result depends only on its document and on the seed, not on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.pool import Pool
from pathlib import Path
from typing import TypeVar

from fim.secrets import detectors
from training.collect import CorpusDocument, SourceProject, read_document, read_documents
from training.decontaminate import BenchmarkTexts
from training.dialogues import (
    MinedDialogue,
    dialogue_about,
    dialogues_for_test,
    dialogues_from_tests,
)
from training.doctests import doctest_cells, examples_as_test
from training.filters import ExaminedDocument, examine
from training.formats import NotebookCell
from training.functions import documented_functions
from training.redaction import redact

Task = TypeVar("Task")
Result = TypeVar("Result")

_CHUNK = 64
"""Tasks that a process takes in one step."""

_MAX_FUNCTIONS_PER_FILE = 4
"""Maximum functions of a file with a dialogue, so that no file dominates the dialogues."""


class Workers:
    """Processes that map a function over tasks; without processes it is called here."""

    def __init__(self, pool: Pool | None) -> None:
        self._pool = pool

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """Yield the result of each task, in the order of the tasks."""
        chunks = _chunks(tasks, chunk)
        call = partial(_map_chunk, function)
        for results in self._pool.imap(call, chunks) if self._pool else map(call, chunks):
            yield from results


@contextmanager
def open_workers(num_workers: int) -> Iterator[Workers]:
    """Start that many processes; one worker is this process."""
    if num_workers <= 1:
        yield Workers(None)
        return
    with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
        yield Workers(pool)


def _chunks(tasks: Iterable[Task], size: int) -> Iterator[list[Task]]:
    rest = iter(tasks)
    while chunk := list(islice(rest, size)):
        yield chunk


def _map_chunk(function: Callable[[Task], Result], tasks: list[Task]) -> list[Result]:
    with detectors():
        return [function(task) for task in tasks]


def examine_file(
    benchmarks: BenchmarkTexts, task: tuple[str, Path, Path]
) -> ExaminedDocument | None:
    """Read a file and apply the filters; return None if it is not UTF-8 text."""
    document = read_document(*task)
    return examine(document, benchmarks) if document else None


@dataclass(frozen=True, slots=True)
class MinedDocument:
    """A document without personal data, and what is mined from it."""

    redacted: CorpusDocument
    redactions: dict[str, int]
    """Number of placeholders, by kind."""
    dialogues: list[MinedDialogue]
    notebooks: list[list[NotebookCell]]
    """Notebooks made of the examples in docstrings: text, code and output."""


def mine(seed: int, document: CorpusDocument) -> MinedDocument:
    """Redact a document, and mine dialogues and notebooks from its functions if it is Python."""
    redactions = dict[str, int]()
    text = redact(document.text, redactions)
    redacted = CorpusDocument(document.project, document.path, text)
    mined = MinedDocument(redacted, redactions, [], [])
    if document.language == "python":
        rng = random.Random(f"{seed} {document.project} {document.path}")
        functions = list(documented_functions(text))
        for function in functions:
            if test := examples_as_test(function):
                mined.dialogues.extend(dialogues_for_test(function, test, rng))
            if ">>>" in function.docstring and (cells := doctest_cells(function.docstring)):
                mined.notebooks.append(cells)
        short = [function for function in functions if function.is_short]
        for function in rng.sample(short, min(len(short), _MAX_FUNCTIONS_PER_FILE)):
            mined.dialogues.append(dialogue_about(function, rng))
    return mined


def mine_tests(seed: int, task: tuple[list[CorpusDocument], SourceProject]) -> list[MinedDialogue]:
    """Return dialogues from the tests of a project's documents."""
    documents, project = task
    tests = (
        CorpusDocument(test.project, test.path, redact(test.text, {}))
        for test in read_documents(project, project.tests)
    )
    return list(dialogues_from_tests(documents, tests, random.Random(f"{seed} {project.name}")))
