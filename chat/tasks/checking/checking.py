"""Runs the candidates of the task that writes tests, if the user agrees and the machine can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chat.tasks.checking.checker import CheckedTests, Checker
from chat.tasks.checking.choosing import MAX_TESTS
from chat.tasks.checking.runner import CannotRunError, Job, Runner
from chat.tasks.checking.runners import open_runner
from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import Destination, GeneratedTests, Subject
from chat.tasks.target import WorkspaceFiles
from engine.errors import ConfigurationError
from sandbox.sandbox import make_sandbox

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Whether and how long generated tests are run."""

    may_run: Callable[[Path, str], Awaitable[bool]]
    """Function that returns whether the user lets code run in a folder; the text names the code."""
    seconds: float = 20.0
    """Time after which no further tests are requested. Tests that run then are finished."""


class Checks:
    """The checks of one task. If tests cannot be run, it says why and keeps what it is given."""

    def __init__(self, checker: Checker | None, runner: Runner | None, problem: str) -> None:
        self._checker, self._runner = checker, runner
        self.problem = problem
        """A sentence for the user that says why tests are not run, empty if they are."""

    @property
    def is_possible(self) -> bool:
        """Whether tests can be run."""
        return self._checker is not None

    @property
    def names(self) -> frozenset[str]:
        """The names of the tests that were kept so far."""
        return self._checker.names if self._checker else frozenset()

    @property
    def is_enough(self) -> bool:
        """Whether no further tests are needed."""
        return self._checker is not None and self._checker.is_enough

    async def add(self, candidates: GeneratedTests) -> None:
        """Run candidates and keep those that pass."""
        await self._run(lambda checker: checker.add(candidates))

    async def add_probes(self, *, without_tests: bool = False) -> None:
        """Try other arguments than those of the tests that were kept."""
        await self._run(lambda checker: checker.add_probes(without_tests=without_tests))

    async def result(self) -> CheckedTests | None:
        """Return the best tests of those that were kept, None if there are none."""
        return await self._run(lambda checker: checker.result())

    @property
    def num_failed(self) -> int:
        """Number of candidates that did not pass."""
        return self._checker.num_failed if self._checker else 0

    @property
    def num_unstable(self) -> int:
        """Number of candidates that pass only now, or only on this machine."""
        return self._checker.num_unstable if self._checker else 0

    @property
    def last_problem(self) -> str:
        """Why the last candidates could not be run, empty if they could."""
        return self._checker.problem if self._checker else ""

    async def _run(self, work: Callable[[Checker], T]) -> T | None:
        """Call the checker in a thread. If nothing can be run, that becomes the problem."""
        if self._checker is None or self._runner is None:
            return None
        running = asyncio.create_task(asyncio.to_thread(work, self._checker))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._runner.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # it was cancelled, too
            raise
        except CannotRunError as error:
            self._checker, self.problem = None, f"The tests were not run. {error}"
            return None


@asynccontextmanager
async def open_checks(
    settings: CheckSettings | None,
    subject: Subject,
    convention: Convention,
    files: WorkspaceFiles,
    on_stage: Callable[[str], None],
    max_tests: int = MAX_TESTS,
    preferred: Collection[str] = (),
) -> AsyncIterator[Checks]:
    """Return the checks for one subject.

    They choose at most `max_tests`, first those with names in `preferred`.
    """
    what = f"generated tests of {subject.symbol.name}"
    if settings is None or not await settings.may_run(files.boundary or files.root, what):
        yield Checks(None, None, "")
        return
    loop = asyncio.get_running_loop()

    def on_stage_in_thread(text: str) -> None:
        loop.call_soon_threadsafe(on_stage, text)

    try:
        box = await asyncio.to_thread(make_sandbox)
        opened = open_runner(subject, convention, files, box)
        runner = await asyncio.to_thread(opened.__enter__)
    except (CannotRunError, ConfigurationError) as error:
        reason = error.user_message if isinstance(error, ConfigurationError) else error
        yield Checks(None, None, f"The tests were not run. {reason}")
        return
    try:
        original = files.read(convention.test_file)
        destination = Destination(convention.test_file, original)
        if original is not None:  # with line feeds as line endings, like the subject's text
            destination = Destination(convention.test_file, destination.text)
        job = Job(subject, lambda tests: convention.dialect.place(tests, subject, destination))
        checker = await asyncio.to_thread(
            Checker, runner, job, on_stage_in_thread, max_tests, preferred
        )
        yield Checks(checker, runner, "")
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
