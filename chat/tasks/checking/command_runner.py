"""A base for runners of frameworks that are started by a command, once for each mutation."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from chat.tasks.checking.elsewhere import OBSERVING_ENVIRONMENT
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.runner import Job, Run, Runner
from chat.tasks.dialects.base import GeneratedTests
from chat.tasks.target import FileEdit
from sandbox.command import PRIVATE_FOLDER, Command
from syntax.mutations import Mutation

PROGRAM = Path(__file__).with_name("command_program.py")
_SECONDS = 20.0
"""Maximum time of the tests with the source as it is."""
_SHORTEST_LIMIT_S, _LIMIT_FACTOR = 1.0, 4.0
"""The time for a mutant: a part of its own, and a multiple of the first run's time."""
_MARGIN_S = 5.0
"""Time in which the program in the sandbox reports that the command did not end."""
_MAX_AT_ONCE = min(2, os.cpu_count() or 1)
"""Maximum number of mutants that run at the same time. Each may use the memory of its limits."""
_MAX_HANGING = 3
"""Maximum number of tests that are left out because they do not end, before all are given up."""
_MAX_PROBLEM_LINES = 3
_ERROR = re.compile(r"^(?:\x1b\[[\d;]*m|\s)*(?:\[?\w*Error\b|error\b|Uncaught\b).*", re.M)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")

Purpose = Literal["check", "observe", "count"]
"""Why tests are run: for their results, for what their assertions see, for the executed lines."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command, and the files that it writes."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    reports: tuple[str, ...] = ()
    go_cache: tuple[Path, Path] | None = None
    """Go's build cache, and the folder where the command sees its contents and can write."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended."""

    timed_out: bool = False
    output: str = ""
    """The last part of what it wrote."""
    reports: tuple[str, ...] = ()
    """The texts of `Invocation.reports`, empty for files that do not exist."""

    @classmethod
    def of(cls, output: bytes) -> list[Ending]:
        """Return the endings that the program in the sandbox has reported."""
        endings = []
        for line in output.decode("utf-8", "replace").split("\n"):
            try:
                data = json.loads(line)
                endings.append(cls(data["timed_out"], data["output"], tuple(data["reports"])))
            except (ValueError, KeyError, TypeError):
                continue  # it was cut when a limit was exceeded
        return endings


@dataclass(frozen=True, slots=True)
class Results:
    """What a command said about tests, by their names."""

    passed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    started: tuple[str, ...] = ()
    """The tests that have started, in this order, if the command was stopped."""
    problem: str = ""
    seen: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    """What the assertions of each test saw, if the tests observe."""
    covered: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The lines of the subject that each test executes, if they are counted."""


class CommandRunner(Runner):
    """Starts a command for each mutation. Subclasses say which, and read its results."""

    def __init__(self, overlays: Overlays) -> None:
        self._overlays = overlays

    @abstractmethod
    def _invocation(self, mark: str) -> Invocation:
        """Return the command. `mark` is in the names of all tests that it should run."""

    @abstractmethod
    def _placed(
        self, job: Job, tests: GeneratedTests, mark: str, purpose: Purpose
    ) -> list[FileEdit]:
        """Return the edits that put tests with recognizable names into the project.

        With the purpose "observe", assertions report what they see, and go on.
        """

    @abstractmethod
    def _counted(self, job: Job) -> tuple[str, frozenset[int]]:
        """Return the text of the subject's file that counts its lines, and the lines it counts."""

    @abstractmethod
    def _results(self, ending: Ending, tests: GeneratedTests, mark: str) -> Results:
        """Return the results of tests."""

    def run(
        self, job: Job, tests: GeneratedTests, mutations: Sequence[Mutation | None]
    ) -> list[Run]:
        """Run tests once per mutation, and once to count lines; see the base class.

        Tests that do not pass in the first run are left out of the others.
        """
        first, others = mutations[0], mutations[1:]
        start = time.monotonic()
        run = _run_of(self._complete(job, tests, _edits(job, first), _SECONDS))
        seconds = min(_SECONDS, _SHORTEST_LIMIT_S + _LIMIT_FACTOR * (time.monotonic() - start))
        passing = replace(tests, tests=tuple(t for t in tests.tests if t.name in run.passed))
        if not passing.tests:
            return [run, *(Run() for _ in others)]
        with ThreadPoolExecutor(_MAX_AT_ONCE) as pool:
            counted = pool.submit(self._with_lines, run, job, passing, seconds)
            results = pool.map(
                lambda each: self._complete(job, passing, _edits(job, each), seconds), others
            )
            return [counted.result(), *map(_run_of, results)]

    def cancel(self) -> None:
        """Stop what runs."""
        self._overlays.cancel()

    def _with_lines(self, run: Run, job: Job, tests: GeneratedTests, seconds: float) -> Run:
        """Return a run with the lines that tests execute, which one more run of them shows."""
        text, lines = self._counted(job)
        if not lines:
            return run
        edits = [FileEdit(job.subject.path, 0, len(job.subject.text), text)]
        # Lines are reported immediately, so a test that does not end needs no further run.
        covered = self._once(job, tests, edits, seconds, "count").covered
        return replace(run, covered=covered, lines=lines)

    def _complete(
        self,
        job: Job,
        tests: GeneratedTests,
        edits: Sequence[FileEdit],
        seconds: float | None = None,
        purpose: Purpose = "check",
    ) -> Results:
        """Run tests. If one does not end, it has failed, and the others are run again."""
        hanging: list[str] = []
        seen: dict[str, Mapping[int, Sequence[Mapping[str, Any]]]] = {}
        while True:
            results = self._once(job, tests, edits, seconds or _SECONDS, purpose)
            seen.update(results.seen)
            hanging += results.started[-1:]
            others = tuple(test for test in tests.tests if test.name not in hanging)
            if not results.started or not others or len(hanging) > _MAX_HANGING:
                passed, failed = results.passed.difference(hanging), results.failed.union(hanging)
                return replace(results, passed=passed, failed=failed, seen=seen)
            tests = replace(tests, tests=others)

    def _once(
        self,
        job: Job,
        tests: GeneratedTests,
        edits: Sequence[FileEdit],
        seconds: float,
        purpose: Purpose,
    ) -> Results:
        mark = new_mark()
        placed = self._placed(job, tests, mark, purpose)
        invocation = self._invocation(mark)
        if purpose == "observe":
            environment = {**invocation.environment, **OBSERVING_ENVIRONMENT}
            invocation = replace(invocation, environment=environment)
        ending = self._ending(invocation, [*placed, *edits], seconds)
        return self._results(ending, tests, mark)

    def _ending(self, invocation: Invocation, edits: list[FileEdit], seconds: float) -> Ending:
        request = {
            "command": invocation.arguments,
            "folder": str(invocation.folder),
            "environment": dict(invocation.environment),
            "seconds": seconds,
            "reports": invocation.reports,
            "variants": [{}],
        }
        command = program_command(request)
        result = self._overlays.run(command, edits, seconds + _MARGIN_S)
        endings = Ending.of(result.output)
        return endings[0] if endings else Ending(output=result.output.decode("utf-8", "replace"))


def program_command(request: Mapping[str, Any]) -> Command:
    """Return the command that runs the program in the sandbox.

    The program says what a request contains. A request without a copy, a cache or a proof may leave
    them out.
    """
    request = {"copy": None, "go_cache": None, "proof": "", **request}
    text = PROGRAM.read_text(encoding="utf-8")
    arguments = (sys.executable, "-I", "-S", "-B", "-c", text)
    return Command(arguments, json.dumps(request).encode(), folder=Path(PRIVATE_FOLDER))


def problem_of(output: str) -> str:
    """Return the lines of an output that say what is wrong, else its last lines."""
    text = _COLOUR.sub("", output)
    if match := _ERROR.search(text):
        return match[0].strip()
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_MAX_PROBLEM_LINES:])


def package_root(file: Path, names: Sequence[str], folder: Path) -> Path:
    """Return the innermost folder around a file with one of these names, inside of a folder."""
    for parent in file.parents:
        if not parent.is_relative_to(folder):
            break
        if any((parent / name).is_file() for name in names):
            return parent
    return folder


def new_mark() -> str:
    """Return a word that no test contains."""
    return f"starcoder{secrets.token_hex(8)}"


def _run_of(results: Results) -> Run:
    return Run(results.passed, results.failed, problem=results.problem)


def _edits(job: Job, mutation: Mutation | None) -> list[FileEdit]:
    """Return the edit of a mutation. Without one it changes nothing, so that the sandbox shows the
    same files in all runs, and is set up only once."""
    if mutation is None:
        return [FileEdit(job.subject.path, 0, 0, "")]
    return [FileEdit(job.subject.path, mutation.start, mutation.end, mutation.replacement)]
