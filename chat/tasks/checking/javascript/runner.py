"""Runs Node's test runner, Jest and Vitest in the sandbox."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chat.tasks.checking.command_runner import (
    CommandRunner,
    Ending,
    Invocation,
    Purpose,
    Results,
    problem_of,
)
from chat.tasks.checking.javascript.commands import JavaScriptProject
from chat.tasks.checking.javascript.lines import counted_source
from chat.tasks.checking.javascript.observing import Observation, corrected_test, observed_test
from chat.tasks.checking.javascript.probes import observed_probes, probe_tests
from chat.tasks.checking.javascript.programs import count_function, report_function, see_function
from chat.tasks.checking.javascript.tests import marked_test
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.runner import CannotRunError, Job
from chat.tasks.dialects.base import GeneratedTests, Snippet
from chat.tasks.target import FileEdit

_TYPESCRIPT = (".ts", ".tsx", ".mts", ".cts")
_PROBING_SECONDS = 5.0
"""Maximum time of tests with arguments that nobody has chosen: some may never end."""
_REPORTED, _RESULTS = 0, 1
"""Indices in `Ending.reports`."""
_WRONG_CONFIGURATION = re.compile(
    r"(?i)\bpreset\b.* not found|validation error|failed to load config|could not load .*config"
    r"|cannot find (?:package|module) .*(?:config|preset|transform)"
)


class JavaScriptRunner(CommandRunner):
    """Runs the tests of one file."""

    def __init__(self, project: JavaScriptProject, overlays: Overlays) -> None:
        super().__init__(overlays)
        self._project = project

    def repair(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Correct expected values by those that were observed."""
        return self._corrected(job, tests)

    def probe(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Call the subject with other arguments, and expect what it returned."""
        probes = probe_tests(tests.tests, job.subject, self._project.framework)
        if not probes.tests:
            return probes
        return observed_probes(self._corrected(job, probes, _PROBING_SECONDS))

    def _corrected(
        self, job: Job, tests: GeneratedTests, seconds: float | None = None
    ) -> GeneratedTests:
        """Return tests that expect what was observed; an assertion without value is removed."""
        edits = [FileEdit(job.subject.path, 0, 0, "")]
        seen = self._complete(job, tests, edits, seconds, "observe").seen
        corrected = []
        for test in tests.tests:
            own = seen.get(test.name, {})
            observations = {
                index: [Observation.of(data, job.subject) for data in each]
                for index, each in own.items()
            }
            if (text := corrected_test(test.text, observations)) is not None:
                corrected.append(Snippet(test.name, text))
        return replace(tests, tests=tuple(corrected))

    def _invocation(self, mark: str) -> Invocation:
        return self._project.invocation(mark)

    def _placed(
        self, job: Job, tests: GeneratedTests, mark: str, purpose: Purpose
    ) -> list[FileEdit]:
        is_typed = self._project.test_file.suffix in _TYPESCRIPT
        helpers = [Snippet("", report_function(mark, is_typed=is_typed))]
        marked = []
        for number, test in enumerate(tests.tests):
            text = observed_test(number, test.text) if purpose == "observe" else test.text
            start = f'__starcoderReport__("start", {number})'
            if purpose == "count":
                start = f"__starcoderCount__({number})"
            marked.append(Snippet(test.name, marked_test(text, f"{mark} {number}", start)))
        if purpose == "observe":
            helpers.append(Snippet("", see_function(str(job.subject.path))))
        elif purpose == "count":
            helpers.append(Snippet("", count_function()))
        placed = job.place(replace(tests, helpers=(*helpers, *tests.helpers), tests=tuple(marked)))
        return _without_types(placed) if purpose != "check" and is_typed else placed

    def _counted(self, job: Job) -> tuple[str, frozenset[int]]:
        return counted_source(job.subject)

    def _results(self, ending: Ending, tests: GeneratedTests, mark: str) -> Results:
        names = [test.name for test in tests.tests]
        lines = list(_lines(ending, mark))
        started = [names[line[1]] for line in lines if line[0] == "start"]
        self._check_start(ending, lines)
        results, problem = self._project.results(lines, ending.reports[_RESULTS:])
        passed = {name: results.get(f"{mark} {i}") for i, name in enumerate(names)}
        return Results(
            frozenset(name for name, is_passed in passed.items() if is_passed),
            frozenset(name for name, is_passed in passed.items() if is_passed is False),
            tuple(dict.fromkeys(started)) if ending.timed_out else (),
            "" if results else problem or problem_of(ending.output),
            _seen(lines, names),
            _covered(lines, names),
        )

    def _check_start(self, ending: Ending, lines: Sequence[Any]) -> None:
        """Raise CannotRunError if the framework could not read its configuration."""
        has_results = lines or ending.timed_out or any(ending.reports[_RESULTS:])
        if self._project.framework == "node" or has_results:
            return
        problem = problem_of(ending.output)
        if _WRONG_CONFIGURATION.search(ending.output):
            name = self._project.framework.capitalize()
            first = problem.strip().split("\n")[0]
            raise CannotRunError(f"{name} could not start in {self._project.root}: {first}")


def _lines(ending: Ending, mark: str) -> Iterator[Any]:
    """Yield what tests and reporters have reported."""
    texts = ending.reports[_REPORTED : _REPORTED + 1]
    lines = [line for text in texts for line in text.split("\n")]
    output = ending.output.split("\n")
    for line in [*lines, *(line[len(mark) :] for line in output if line.startswith(mark))]:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # it was cut


def _seen(
    lines: Sequence[Any], names: Sequence[str]
) -> Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]:
    seen: dict[str, dict[int, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line[0] == "seen":
            seen[names[line[1]]][line[2]].append(line[3])
    return seen


def _covered(lines: Sequence[Any], names: Sequence[str]) -> Mapping[str, frozenset[int]]:
    covered: dict[str, set[int]] = defaultdict(set)
    for line in lines:
        if line[0] == "line":
            covered[names[line[1]]].add(line[2])
    return {name: frozenset(numbers) for name, numbers in covered.items()}


def _without_types(edits: Sequence[FileEdit]) -> list[FileEdit]:
    """Return edits of a test file whose types are not checked."""
    comment = "// @ts-nocheck\n"
    if any(edit.start == 0 for edit in edits):
        first = min(edits, key=lambda edit: edit.start)
        return [replace(e, text=comment + e.text) if e is first else e for e in edits]
    return [FileEdit(edits[0].path, 0, 0, comment), *edits]
