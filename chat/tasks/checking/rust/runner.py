"""Runs Rust's tests with Cargo, offline."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from chat.tasks.checking.build_runner import COPY, BuildRunner, BuiltProject
from chat.tasks.checking.command_runner import Invocation
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.runner import Job
from chat.tasks.checking.rust.observing import corrected_test, observations_in, observed_test
from chat.tasks.checking.rust.probes import Observed, Probes, make_probes
from chat.tasks.dialects.base import GeneratedTests
from chat.tasks.target import FileEdit
from sandbox.command import PRIVATE_FOLDER

_ERROR_LINE = re.compile(r"^error(?:\[\w+\])?:[^\n]*\n\s*--> ([^:\n]+):(\d+):", re.M)

_SUMMARY = re.compile(r"^test result: ", re.M)
_PROBING_SECONDS = 6.0
"""The time after which no further round of probes begins."""
_FUNCTION = re.compile(r"\bfn (\w+)")


class CargoRunner(BuildRunner):
    """Runs the tests of one target of a package."""

    def __init__(self, project: BuiltProject, cargo: Path, home: Path, overlays: Overlays) -> None:
        """`home` is Cargo's own folder, which has the sources of dependencies."""
        super().__init__(project, overlays)
        self._cargo, self._home = cargo, home

    def repair(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Correct the values that `assert_eq!` expects by those that were observed."""
        observed = tuple(
            replace(test, text=observed_test(number, test.text))
            for number, test in enumerate(tests.tests)
        )
        seen = observations_in(self._output(job, replace(tests, tests=observed)))
        corrected = []
        for number, test in enumerate(tests.tests):
            if (text := corrected_test(test.text, seen.get(number, {}))) is not None:
                corrected.append(replace(test, text=text))
        return replace(tests, tests=tuple(corrected))

    def probe(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Call the subject with other arguments, and expect what it returned."""
        taken = set(_FUNCTION.findall("".join(self._placed(job, tests).values())))
        probes = make_probes(tests, job.subject, taken, is_inside=self._is_inside())
        if probes is None:
            return super().probe(job, tests)
        return probes.written(self._observed(job, probes))

    def _observed(self, job: Job, probes: Probes) -> dict[int, Observed]:
        """Return what probes print. Those after one that ends the program run in another round."""
        seen: dict[int, Observed] = {}
        path = Path(os.path.realpath(job.subject.path.parent)) / job.subject.path.name
        tests, end = probes.observing, time.monotonic() + _PROBING_SECONDS
        while tests.tests and time.monotonic() < end:
            (results,) = self._all_results(job, tests, [None], shows_output=True)
            seen |= probes.observed(results.output, self._placed(job, tests)[path])
            ended = {i for i, each in seen.items() if each.has_returned or each.has_panicked}
            finished = results.refused | {probes.probes[i].name for i in ended}
            remaining = tuple(test for test in tests.tests if test.name not in finished)
            if len(remaining) == len(tests.tests):
                break  # the source itself does not compile
            tests = replace(tests, tests=remaining)
        return seen

    def _placed(self, job: Job, tests: GeneratedTests) -> dict[Path, str]:
        """Return the texts of the test file and of the subject's file with tests."""
        return self._overlays.texts([*job.place(tests), FileEdit(job.subject.path, 0, 0, "")])

    def _is_inside(self) -> bool:
        """Whether the tests see private items, because they are no crate of their own."""
        relative = self._project.test_file.relative_to(self._project.package)
        return relative.parts[0] != "tests"

    def _has_ended_early(self, output: str, num_results: int, num_tests: int) -> bool:
        return _SUMMARY.search(output) is None

    def _invocation(self, mark: str, *, shows_output: bool) -> Invocation:
        package = COPY / self._project.package.relative_to(self._project.root)
        options = ["--test-threads=1", *(["--nocapture"] if shows_output else []), mark]
        return Invocation(
            (str(self._cargo), "test", "--offline", *self._targets(), "--", *options),
            package,
            {
                "PATH": f"{self._cargo.parent}:/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "CARGO_HOME": str(self._home),
                "CARGO_TARGET_DIR": f"{PRIVATE_FOLDER}/target",
                "CARGO_TERM_COLOR": "never",
                "CARGO_PROFILE_DEV_DEBUG": "0",  # smaller files, which are kept in memory
                "CARGO_PROFILE_TEST_DEBUG": "0",
                "RUST_BACKTRACE": "0",
            },
        )

    def _targets(self) -> tuple[str, ...]:
        """Return the options that choose what is built."""
        package, test_file = self._project.package, self._project.test_file
        relative = test_file.relative_to(package)
        if relative.parts[0] == "tests" and len(relative.parts) == 2:
            return ("--test", test_file.stem)
        has_library = (package / "src" / "lib.rs").is_file() or not (
            package / "src" / "main.rs"
        ).is_file()
        has_programs = (package / "src" / "main.rs").is_file() or (package / "src" / "bin").is_dir()
        library, programs = ("--lib",) if has_library else (), ("--bins",) if has_programs else ()
        return (*library, *programs)

    def _marked(self, text: str, name: str, new_name: str) -> str:
        return re.sub(rf"\bfn {re.escape(name)}\b", f"fn {new_name}", text, count=1)

    def _proof(self, mark: str) -> str:
        return rf"^test (?:\S+::)?{mark}_\d+(?: - should panic)? \.\.\. ok"

    def _read(self, output: str, mark: str) -> tuple[Mapping[int, bool], Sequence[int]]:
        return read_tests(output, mark)

    def _wrong_lines(self, output: str) -> list[int]:
        name = self._project.test_file.name
        return [
            int(line)
            for path, line in _ERROR_LINE.findall(output)
            if os.path.basename(path) == name
        ]


def read_tests(output: str, mark: str) -> tuple[dict[int, bool], list[int]]:
    """Return the results in the output of Rust's test program, and which tests have started."""
    passed: dict[int, bool] = {}
    started: list[int] = []
    line = re.compile(
        rf"^test (?:\S+::)?{mark}_(\d+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)?", re.M
    )
    for match in line.finditer(output):
        number = int(match[1])
        started.append(number)
        if match[2] in ("ok", "FAILED"):
            passed[number] = match[2] == "ok"
    return passed, started
