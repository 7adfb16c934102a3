"""Runs pytest and unittest in the sandbox, with the project's own interpreter."""

from __future__ import annotations

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.python.observing import Observation, corrected_test, observed_test
from chat.tasks.checking.python.probes import probe_tests
from chat.tasks.checking.python.zones import zones
from chat.tasks.checking.runner import CannotRunError, Job, Run, Runner
from chat.tasks.dialects.base import GeneratedTests, Snippet
from chat.tasks.target import FileEdit
from sandbox.command import Command
from sandbox.interpreters import text_of
from syntax.mutations import Mutation

_PROGRAM = Path(__file__).with_name("program.py")
_ELSEWHERE = Path(__file__).with_name("elsewhere.py")
_SECONDS = 10.0
"""Maximum time of the tests with the source as it is."""
_CONFIGURATION = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_IMPORT_MODE = re.compile(r"--import-mode[= ]\s*(prepend|append|importlib)")
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_MAX_PROBLEM_LINES = 3


@dataclass
class _Report:
    """What the program reported about one variant."""

    results: dict[str, bool] = field(default_factory=dict)
    """Whether each test passed; False for one that has started and not ended."""
    ended: set[str] = field(default_factory=set)
    covered: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    lines: frozenset[int] = frozenset()
    seen: dict[str, dict[int, list[Observation]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PythonProject:
    """A project, and how its tests are run."""

    root: Path
    """The folder in which the tests run."""
    python: Path
    """The interpreter of the project."""
    framework: str
    import_root: Path
    """The folder from which tests import the subject's module."""
    test_file: Path


class PythonRunner(Runner):
    """Runs pytest or unittest."""

    is_fast = True

    def __init__(self, project: PythonProject, overlays: Overlays) -> None:
        self._project, self._overlays = project, overlays

    def run(
        self, job: Job, tests: GeneratedTests, mutations: Sequence[Mutation | None]
    ) -> list[Run]:
        """Run tests once per mutation; see the base class."""
        text = job.subject.text
        variants = [None if mutation is None else mutation.apply(text) for mutation in mutations]
        reports = self._reports(job, tests, job.place(tests), variants)
        return [_run_of(report) for report in reports]

    def stable(self, job: Job, tests: GeneratedTests) -> frozenset[str]:
        """Run tests on another day, with another machine, user, time zone and hash seed."""
        names = frozenset(test.name for test in tests.tests)
        for zone in zones(job.subject.text):
            if names:
                (report,) = self._reports(job, tests, job.place(tests), [None], zone)
                names &= _run_of(report).passed
        return names

    def repair(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Correct expected values by those that were observed."""
        observed = replace(
            tests,
            tests=tuple(replace(t, text=observed_test(t.name, t.text)) for t in tests.tests),
        )
        (report,) = self._reports(job, tests, job.place(observed), [None])
        corrected = []
        for test in tests.tests:
            text = corrected_test(test.text, report.seen[test.name], self._project.framework)
            if text is not None:
                corrected.append(Snippet(test.name, text))
        imports = tests.imports
        if any("asyncio.run(" in test.text for test in corrected):
            imports = (*imports, "import asyncio")
        return replace(tests, imports=imports, tests=tuple(corrected))

    def probe(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Call the subject with other arguments, and expect what it returned."""
        probes = probe_tests(tests.tests, job.subject, self._project.framework)
        imports = (*tests.imports, *probes.imports)
        return self.repair(job, replace(probes, imports=imports)) if probes.tests else probes

    def cancel(self) -> None:
        """Stop what runs."""
        self._overlays.cancel()

    def _reports(
        self,
        job: Job,
        tests: GeneratedTests,
        edits: Iterable[FileEdit],
        variants: Sequence[str | None],
        zone: str = "",
    ) -> list[_Report]:
        """Run the program, elsewhere if a time zone is given."""
        mark = secrets.token_hex(16)
        names = [test.name for test in tests.tests]
        elsewhere = _ELSEWHERE.read_text(encoding="utf-8") if zone else None
        request = {**self._request(job, names, variants), "elsewhere": elsewhere}
        command = Command(
            (str(self._project.python), "-B", "-c", _PROGRAM.read_text(encoding="utf-8")),
            json.dumps({**request, "mark": mark}).encode(),
            {**_environment(self._project.python), **({"TZ": zone, "LANG": "C"} if zone else {})},
            self._project.root,
        )
        seconds = _SECONDS + 2 * len(variants)
        output = self._overlays.run(command, edits, seconds).output.decode("utf-8", "replace")
        reports = _parse(output, mark)
        first = reports[0] if reports else _Report(problem=_last_lines(output))
        if first.problem.startswith("pytest cannot be imported"):
            raise CannotRunError(f"{self._project.python} has no pytest: {first.problem}.")
        if not first.results and (missing := _NO_MODULE.search(first.problem)):
            raise CannotRunError(f"{self._project.python} has no module {missing[1]}.")
        return reports + [_Report(problem=first.problem)] * (len(variants) - len(reports))

    def _request(
        self, job: Job, names: Sequence[str], variants: Sequence[str | None]
    ) -> Mapping[str, Any]:
        project, symbol, text = self._project, job.subject.symbol, job.subject.text
        return {
            "framework": project.framework,
            "root": str(project.root),
            "paths": [str(path) for path in dict.fromkeys([project.import_root, project.root])],
            "options": _pytest_options(project.root),
            "test_file": str(project.test_file),
            "module": project.test_file.stem,
            "source_file": str(job.subject.path),
            "names": list(names),
            "variants": list(variants),
            "first_line": text.count("\n", 0, symbol.start) + 1,
            "last_line": text.count("\n", 0, symbol.end) + 1,
            "seconds": _SECONDS,
        }


def _environment(python: Path) -> dict[str, str]:
    """Return the environment of the tests. A random hash seed finds tests that depend on order."""
    return {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": str(secrets.randbelow(1 << 16)),
        # Each thread of a library for numbers reserves address space.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _pytest_options(root: Path) -> list[str]:
    """Return the options of the project that decide how modules are imported.

    Others, such as coverage and parallel processes, are left out.
    """
    for name in _CONFIGURATION:
        # The file belongs to the workspace, so it may be a FIFO or huge.
        if match := _IMPORT_MODE.search(text_of(root / name)):
            return [f"--import-mode={match[1]}"]
    return []


def _parse(output: str, mark: str) -> list[_Report]:
    reports: list[_Report] = []
    for line in output.split("\n"):
        if not line.startswith(mark):
            continue
        try:
            kind, *values = json.loads(line[len(mark) :])
        except ValueError:
            continue  # it was cut when a limit was exceeded
        if kind == "begin":
            reports.append(_Report())
        elif reports:
            _add(reports[-1], kind, values)
        elif kind == "problem":
            reports.append(_Report(problem=str(values[0])))
    return reports


def _add(report: _Report, kind: str, values: list[Any]) -> None:
    match kind:
        case "start":
            report.results.setdefault(_top_name(values[0]), False)
        case "end":
            _end(report, values[0], passed=values[1])
        case "lines":
            report.lines = frozenset(line - 1 for line in values[0])
        case "covered":
            report.covered[_top_name(values[0])] |= {line - 1 for line in values[1]}
        case "seen":
            report.seen[values[0]][values[1]].append(Observation.of(values[2]))
        case "problem":
            report.problem = report.problem or _last_lines(str(values[0]))


def _end(report: _Report, identifier: str, *, passed: bool) -> None:
    name = _top_name(identifier)
    report.results[name] = passed if name not in report.ended else report.results[name] and passed
    report.ended.add(name)


def _top_name(identifier: str) -> str:
    """Return the name of a test or test class from the identifier of pytest or unittest."""
    if "::" in identifier:
        return identifier.split("::")[1].partition("[")[0]
    return identifier.rpartition(".")[2]


def _run_of(report: _Report) -> Run:
    passed = frozenset(name for name, is_passed in report.results.items() if is_passed)
    failed = frozenset(report.results) - passed
    covered = {name: report.lines & lines for name, lines in report.covered.items()}
    return Run(passed, failed, covered, report.lines, report.problem)


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_MAX_PROBLEM_LINES:])
