"""The interface of a runner: how the tests of one framework are run in the sandbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chat.tasks.dialects.base import GeneratedTests, Subject
from chat.tasks.target import FileEdit
from syntax.mutations import Mutation

MARK = "current behaviour"
"""The text of the comment at an expected value that was observed, for a person to judge it."""

Place = Callable[[GeneratedTests], list[FileEdit]]
"""Function that puts tests into the files of the project. Offsets count line feeds as line ends."""


class CannotRunError(Exception):
    """Tests of this project cannot be run here. The message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is tested, and where its tests are written."""

    subject: Subject
    place: Place


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of some tests showed. A test that did not end is in neither set."""

    passed: frozenset[str] = frozenset()
    """The names of the tests that passed."""
    failed: frozenset[str] = frozenset()
    """The names of the tests that failed, or did not end in time."""
    covered: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The lines of the subject that each test executes, from 0 at the start of its file."""
    lines: frozenset[int] = frozenset()
    """All lines of the subject that can be executed; empty if the runner does not measure them."""
    problem: str = ""
    """The last lines of the output if no test could be run, for example a failing import."""


class Runner(ABC):
    """Runs the tests of one framework. All methods block; they may be called in any thread.

    Each raises CannotRunError if nothing can be run, and `concurrent.futures.CancelledError` after
    `cancel` was called.
    """

    is_fast = False
    """Whether one more mutation takes a small part of a second. Then further tests are run with all
    mutations, which gives the choice more to compare; else with those that no test detects."""

    @abstractmethod
    def run(
        self, job: Job, tests: GeneratedTests, mutations: Sequence[Mutation | None]
    ) -> list[Run]:
        """Run tests once per mutation of the subject's file; None means the file as it is.

        If no test passes in the first run, the others may be left out, as empty results.
        """

    def stable(self, job: Job, tests: GeneratedTests) -> frozenset[str]:
        """Return the names of the tests that also pass on another day and on another machine.

        The tests have passed here. The default does not look and returns all.
        """
        return frozenset(test.name for test in tests.tests)

    def repair(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Return tests with observed values in place of wrong expected values.

        An assertion with an observed value is marked with a comment (`MARK`). What cannot be
        repaired stays as it is. The default repairs nothing.
        """
        return tests

    def probe(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Return further tests, with other arguments than those in `tests` and observed values.

        The default has none.
        """
        return GeneratedTests((), (), ())

    @abstractmethod
    def cancel(self) -> None:
        """Stop what runs, and refuse further runs."""
