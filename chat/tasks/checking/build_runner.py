"""A base for runners of compiled languages, whose tests must be built for each mutation.

The project is copied into the private folder of the sandbox, and all mutations are built there, one
after the other, so that only what a mutation changes is built again.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chat.tasks.checking.command_runner import (
    Ending,
    Invocation,
    new_mark,
    problem_of,
    program_command,
)
from chat.tasks.checking.elsewhere import OBSERVING_ENVIRONMENT
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.runner import CannotRunError, Job, Run, Runner
from chat.tasks.dialects.base import GeneratedTests
from chat.tasks.target import FileEdit
from sandbox.command import PRIVATE_FOLDER
from syntax.mutations import Mutation

COPY = Path(PRIVATE_FOLDER) / "project"
"""Where the copy of the project is."""
_SKIPPED = ("target", ".git", "node_modules", ".venv")
_MAX_BYTES = 64 << 20
_SECONDS, _SECONDS_OF_MUTANT = 120.0, 10.0
_MAX_ROUNDS = 4
"""Maximum number of builds of the same tests, each without those that the last one refused."""


@dataclass(frozen=True, slots=True)
class BuiltProject:
    """A project that is built to be tested."""

    root: Path
    """The folder that is copied."""
    package: Path
    """The folder in which the tests run, in `root`."""
    test_file: Path


@dataclass(frozen=True, slots=True)
class _Results:
    passed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    """The tests that did not compile, did not end, or ended the process."""
    problem: str = ""
    output: str = ""


class BuildRunner(Runner):
    """Builds and runs tests. Subclasses say how."""

    def __init__(self, project: BuiltProject, overlays: Overlays) -> None:
        self._project, self._overlays = project, overlays

    @abstractmethod
    def _invocation(self, mark: str, *, shows_output: bool) -> Invocation:
        """Return the command that runs the tests with `mark` in their names."""

    @abstractmethod
    def _proof(self, mark: str) -> str:
        """Return a pattern of a line that says that one of the tests passed."""

    @abstractmethod
    def _marked(self, text: str, name: str, new_name: str) -> str:
        """Return a test with another name."""

    @abstractmethod
    def _read(self, output: str, mark: str) -> tuple[Mapping[int, bool], Sequence[int]]:
        """Return whether tests passed, and which have started, by their numbers."""

    @abstractmethod
    def _wrong_lines(self, output: str) -> list[int]:
        """Return the lines of the test file, from 1, in which the compiler found errors."""

    @abstractmethod
    def _has_ended_early(self, output: str, num_results: int, num_tests: int) -> bool:
        """Whether a test has ended the program, and with it the tests after it."""

    def run(
        self, job: Job, tests: GeneratedTests, mutations: Sequence[Mutation | None]
    ) -> list[Run]:
        """Run tests once per mutation; see the base class.

        A test that does not compile, does not end, or ends the process has failed. The others are
        run without it.
        """
        refused, results = self._without_refused(job, tests, mutations)
        runs = [Run(each.passed, each.failed, problem=each.problem) for each in results]
        return [replace(runs[0], failed=runs[0].failed | refused), *runs[1:]]

    def cancel(self) -> None:
        """Stop what runs."""
        self._overlays.cancel()

    def _output(self, job: Job, tests: GeneratedTests) -> str:
        """Return the output of the tests that compile."""
        _, results = self._without_refused(job, tests, [None], shows_output=True)
        return results[0].output

    def _without_refused(
        self,
        job: Job,
        tests: GeneratedTests,
        mutations: Sequence[Mutation | None],
        *,
        shows_output: bool = False,
    ) -> tuple[frozenset[str], list[_Results]]:
        """Return the tests that stop all others, and the results without them."""
        refused: frozenset[str] = frozenset()
        results = [_Results()] * len(mutations)
        for _ in range(_MAX_ROUNDS):
            remaining = tuple(test for test in tests.tests if test.name not in refused)
            if not remaining:
                break
            own = replace(tests, tests=remaining)
            results = self._all_results(job, own, mutations, shows_output=shows_output)
            if not results[0].refused:
                break
            refused |= results[0].refused
        return refused, results

    def _all_results(
        self,
        job: Job,
        tests: GeneratedTests,
        mutations: Sequence[Mutation | None],
        *,
        shows_output: bool,
    ) -> list[_Results]:
        mark = new_mark()
        marked = [
            replace(test, text=self._marked(test.text, test.name, f"{mark}_{number}"))
            for number, test in enumerate(tests.tests)
        ]
        edits = [
            *job.place(replace(tests, tests=tuple(marked))),
            FileEdit(job.subject.path, 0, 0, ""),
        ]
        texts = self._texts(edits, mutations, job.subject.path)
        invocation = self._invocation(mark, shows_output=shows_output)
        if shows_output:
            environment = {**invocation.environment, **OBSERVING_ENVIRONMENT}
            invocation = replace(invocation, environment=environment)
        endings = self._endings(invocation, edits, texts, self._proof(mark))
        written = texts[0][str(self._copied(self._project.test_file))]
        names = [test.name for test in tests.tests]
        results = [self._results(ending, mark, written, names) for ending in endings]
        return results + [_Results()] * (len(mutations) - len(results))

    def _texts(
        self, edits: Sequence[FileEdit], mutations: Sequence[Mutation | None], source: Path
    ) -> list[dict[str, str]]:
        """Return the texts of the changed files for each mutation, by their paths in the copy."""
        all_texts = []
        for each in mutations:
            own = [] if each is None else [FileEdit(source, each.start, each.end, each.replacement)]
            texts = self._overlays.texts([*edits, *own])
            all_texts.append({str(self._copied(path)): text for path, text in texts.items()})
        return all_texts

    def _copied(self, path: Path) -> Path:
        real = Path(os.path.realpath(path.parent)) / path.name
        return COPY / real.relative_to(self._project.root)

    def _endings(
        self,
        invocation: Invocation,
        edits: Sequence[FileEdit],
        texts: Sequence[Mapping[str, str]],
        proof: str,
    ) -> list[Ending]:
        _check_size(self._project.root)
        request = {
            "command": invocation.arguments,
            "folder": str(invocation.folder),
            "environment": dict(invocation.environment),
            "seconds": _SECONDS,
            "reports": invocation.reports,
            "copy": [str(self._project.root), str(COPY), _SKIPPED],
            "go_cache": invocation.go_cache and [str(path) for path in invocation.go_cache],
            "variants": texts,
            "proof": proof,
        }
        seconds = 2 * _SECONDS + _SECONDS_OF_MUTANT * len(texts)
        result = self._overlays.run(program_command(request), edits, seconds)
        endings = Ending.of(result.output)
        return endings or [Ending(output=result.output.decode("utf-8", "replace"))]

    def _results(self, ending: Ending, mark: str, text: str, names: Sequence[str]) -> _Results:
        passed, started = self._read(ending.output, mark)
        hanging = {number for number in started if number not in passed and ending.timed_out}
        if self._has_ended_early(ending.output, len(passed), len(names)):
            hanging |= {number for number in started[-1:] if not passed.get(number)}
        lines = text.split("\n")
        wrong = set()
        if not started:
            numbers = (_test_at(lines, line, mark) for line in self._wrong_lines(ending.output))
            wrong = {number for number in numbers if number is not None}
        failed = {number for number, is_passed in passed.items() if not is_passed} | hanging
        return _Results(
            frozenset(names[number] for number, is_passed in passed.items() if is_passed),
            frozenset(names[number] for number in failed),
            frozenset(names[number] for number in hanging | wrong),
            "" if passed else problem_of(ending.output),
            ending.output,
        )


def _test_at(lines: Sequence[str], line: int, mark: str) -> int | None:
    """Return the number of the test in which a line is, None if it is in none."""
    name = re.compile(rf"{mark}_(\d+)")
    for text in reversed(lines[:line]):
        if match := name.search(text):
            return int(match[1])
    return None


def _check_size(root: Path) -> None:
    """Raise CannotRunError if a project is too large to be copied."""
    size = 0
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in _SKIPPED]
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        if size > _MAX_BYTES:
            limit = _MAX_BYTES >> 20
            raise CannotRunError(f"{root} has more than {limit} MB, so it is not copied and built.")
