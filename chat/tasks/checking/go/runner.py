"""Runs Go's tests, offline."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chat.tasks.checking.build_runner import COPY, BuildRunner, BuiltProject
from chat.tasks.checking.command_runner import Invocation
from chat.tasks.checking.go.helper import HELPER
from chat.tasks.checking.go.observing import (
    Seen,
    corrected_test,
    observations_in,
    observed_test,
    unqualified,
)
from chat.tasks.checking.go.probe_tests import observing_test, written_tests
from chat.tasks.checking.go.probes import probes_of
from chat.tasks.checking.go.samples import signature_of
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.runner import Job
from chat.tasks.dialects.base import GeneratedTests
from chat.tasks.dialects.go_code import declared_names, package_of
from sandbox.command import PRIVATE_FOLDER

_CACHE = Path(PRIVATE_FOLDER) / "go-cache"
_OPENING = re.compile(r"\bfunc Test_\w+\((\w+) \*testing\.T\) *\{")
_ERROR_LINE = re.compile(r"^(?:\./|vet: )?([^\s:]+\.go):(\d+):\d+: ", re.M)
_NUM_RUNS = 3


@dataclass(frozen=True, slots=True)
class GoHome:
    """A Go, and what it has downloaded and compiled before."""

    go: Path
    modules: Path | None
    """The folder with the sources of dependencies, None if there is none."""
    cache: Path | None
    """The folder with compiled packages, None if there is none.

    Since 1.20 Go comes without those of the standard library. It needs 12 seconds of two cores to
    compile those that `testing` uses.
    """


class GoRunner(BuildRunner):
    """Runs the tests of one package."""

    def __init__(self, project: BuiltProject, home: GoHome, overlays: Overlays) -> None:
        super().__init__(project, overlays)
        self._home = home

    def repair(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Correct expected values by those that were observed."""
        observed = replace(
            tests,
            tests=tuple(
                replace(test, text=observed_test(number, test.text))
                for number, test in enumerate(tests.tests)
            ),
            helpers=(*tests.helpers, HELPER),
        )
        seen = self._seen(job, observed)
        corrected = []
        for number, test in enumerate(tests.tests):
            text = corrected_test(test.text, seen.get(number, {}))
            if text is not None:
                corrected.append(replace(test, text=text))
        return replace(tests, tests=tuple(corrected))

    def probe(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Call the subject with other arguments, and expect what was observed."""
        nothing = GeneratedTests((), (), ())
        text = self._overlays.texts(job.place(tests)).get(self._project.test_file, "")
        is_outside = package_of(text) != package_of(job.subject.text)
        signature = signature_of(job.subject, is_outside=is_outside)
        probes = probes_of(tests.tests, signature, job.subject) if signature is not None else []
        if not probes:
            return nothing
        observing = tuple(observing_test(number, each) for number, each in enumerate(probes))
        seen = self._seen(job, replace(nothing, tests=observing, helpers=(HELPER,)))
        taken = declared_names(text)
        written = written_tests(probes, seen, job.subject, taken)
        return replace(nothing, tests=tuple(written))

    def _seen(self, job: Job, tests: GeneratedTests) -> dict[int, dict[int, list[Seen]]]:
        """Return what tests report, by their numbers and the indices of assertions."""
        events = _events(self._output(job, tests))
        seen = observations_in("".join(str(event.get("Output", "")) for event in events))
        package = package_of(job.subject.text)
        return {
            number: {
                index: [unqualified(each, package) for each in all_seen]
                for index, all_seen in own.items()
            }
            for number, own in seen.items()
        }

    def _invocation(self, mark: str, *, shows_output: bool) -> Invocation:
        folder = self._project.test_file.parent.relative_to(self._project.root)
        go, modules, cache = self._home.go, self._home.modules, self._home.cache
        # The order of a map changes, and a test may change what the next run of it sees.
        count = "-count=1" if shows_output else f"-count={_NUM_RUNS}"
        return Invocation(
            (str(go), "test", "-json", count, "-p=1", "-timeout=4s", f"-run={mark}", "."),
            COPY / folder,
            {
                "PATH": f"{go.parent}:/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "GOPATH": f"{PRIVATE_FOLDER}/go",
                "GOCACHE": str(_CACHE),
                "GOMODCACHE": str(modules or f"{PRIVATE_FOLDER}/go/pkg/mod"),
                "GOENV": "off",
                "GOFLAGS": "-mod=mod",
                "GOPROXY": "off",
                "GOSUMDB": "off",
                "GOTOOLCHAIN": "local",
                "GOTELEMETRY": "off",
            },
            go_cache=None if cache is None else (cache, _CACHE),
        )

    def _marked(self, text: str, name: str, new_name: str) -> str:
        text = re.sub(rf"\bfunc {re.escape(name)}\b", f"func Test_{new_name}", text, count=1)
        # A panic would end the tests that follow, too.
        return _OPENING.sub(
            r'\g<0> defer func() { if r := recover(); r != nil { \1.Fatal("panic:", r) } }();',
            text,
            count=1,
        )

    def _proof(self, mark: str) -> str:
        return rf'"Action":"pass".*"Test":"Test_{mark}_\d+"'

    def _read(self, output: str, mark: str) -> tuple[Mapping[int, bool], Sequence[int]]:
        return read_events(output, mark)

    def _has_ended_early(self, output: str, num_results: int, num_tests: int) -> bool:
        return num_results < num_tests

    def _wrong_lines(self, output: str) -> list[int]:
        return wrong_lines(output, self._project.test_file.name)


def read_events(output: str, mark: str) -> tuple[dict[int, bool], list[int]]:
    """Return the results in the output of `go test -json`, and which tests have started."""
    passed: dict[int, bool] = {}
    started: list[int] = []
    for event in _events(output):
        match = re.fullmatch(rf"Test_{mark}_(\d+)", str(event.get("Test", "")))
        if match is None:
            continue
        if event.get("Action") == "run":
            started.append(int(match[1]))
        elif event.get("Action") in ("pass", "fail"):
            is_passed = event["Action"] == "pass"
            passed[int(match[1])] = passed.get(int(match[1]), True) and is_passed
    return passed, started


def wrong_lines(output: str, name: str) -> list[int]:
    """Return the lines of a file, from 1, in which Go found errors.

    Since Go 1.24 its messages are events too.
    """
    messages = [str(event.get("Output", "")) for event in _events(output)]
    text = "".join([output, "\n", *messages])
    places = _ERROR_LINE.findall(text)
    return sorted({int(line) for path, line in places if os.path.basename(path) == name})


def _events(output: str) -> list[Mapping[str, object]]:
    events: list[Mapping[str, object]] = []
    for line in output.split("\n"):
        if line.startswith("{"):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # it was cut, or a test has written it
            if isinstance(event, dict):
                events.append(event)
    return events
