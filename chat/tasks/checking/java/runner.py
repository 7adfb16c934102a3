"""Runs JUnit 5 and JUnit 4 in the sandbox, without the build tool of the project.

A program in Java (`junit/Controller.java`) compiles the tests, and the source once for each
mutation. It starts a process that runs the tests of all mutations, each in its own class loader.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from chat.tasks.checking.command_runner import Ending, new_mark, problem_of, program_command
from chat.tasks.checking.elsewhere import OBSERVING_ENVIRONMENT
from chat.tasks.checking.java.observing import (
    EVENTS,
    Event,
    corrected_tests,
    observed_tests,
)
from chat.tasks.checking.java.probes import observed_probes, probe_tests
from chat.tasks.checking.java.projects import JavaProject
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.runner import Job, Run, Runner
from chat.tasks.dialects.base import GeneratedTests
from chat.tasks.target import FileEdit
from sandbox.command import PRIVATE_FOLDER
from syntax.grammars import parse
from syntax.mutations import Mutation
from syntax.walk import nodes

_PROGRAM = Path(__file__).with_name("junit")
_ADAPTERS = {"junit5": "Platform", "junit4": "JUnit4"}
_WORK = Path(PRIVATE_FOLDER, "junit")
_RESULTS = f"{_WORK}/results"
_JAR = f"{_WORK}/program.jar"
_UNPACK = f'base64 -d < {_JAR}.txt > {_JAR} && exec "$@"'
_COMPILED = re.compile(r'\["program", "([\w+/=]+)"\]\n')
"""The first line of the results, which the program writes before a test runs."""
_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto")
"""Options with which Java starts fast and needs few threads."""
_MEMORY = "-Xmx768m"
_SECONDS = 5.0
"""Maximum time of a test with the source as it is."""
_PROBING_SECONDS = 1.5
"""Maximum time of a test with arguments that nobody has chosen: some may never end."""
_SECONDS_TO_COMPILE, _SECONDS_OF_MUTANT = 60.0, 4.0
_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Results:
    """What the program in the sandbox reported."""

    passed: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """The numbers of the tests that passed, by the number of the variant."""
    failed: Mapping[int, frozenset[int]] = field(default_factory=dict)
    seen: Mapping[int, Mapping[int, Sequence[Event]]] = field(default_factory=dict)
    """What assertions reported, by the number of the test and their index."""
    problem: str = ""


class JUnitRunner(Runner):
    """Runs the tests of one class."""

    is_fast = True

    def __init__(self, project: JavaProject, overlays: Overlays) -> None:
        self._project, self._overlays = project, overlays
        self._program = ""
        """The compiled program as base64, empty before its first run."""

    def run(
        self, job: Job, tests: GeneratedTests, mutations: Sequence[Mutation | None]
    ) -> list[Run]:
        """Run tests once per mutation; see the base class."""
        texts = [job.subject.text if m is None else m.apply(job.subject.text) for m in mutations]
        results = self._results(job, tests, texts, _SECONDS)
        names = [test.name for test in tests.tests]
        return [
            Run(
                frozenset(names[number] for number in results.passed.get(variant, ())),
                frozenset(names[number] for number in results.failed.get(variant, ())),
                problem="" if results.passed or results.failed else results.problem,
            )
            for variant in range(len(mutations))
        ]

    def repair(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Correct expected values by those that were observed."""
        return self._corrected(job, tests, _SECONDS)

    def probe(self, job: Job, tests: GeneratedTests) -> GeneratedTests:
        """Call the subject with other arguments, and expect what it returned."""
        probes = probe_tests(tests.tests, job.subject)
        return observed_probes(self._corrected(job, probes, _PROBING_SECONDS), job.subject)

    def cancel(self) -> None:
        """Stop what runs."""
        self._overlays.cancel()

    def _corrected(self, job: Job, tests: GeneratedTests, seconds: float) -> GeneratedTests:
        observed = observed_tests(tests, job.subject)
        seen = self._results(job, observed, [job.subject.text], seconds, OBSERVING_ENVIRONMENT).seen
        return corrected_tests(tests, seen, job.subject, self._project.framework)

    def _results(
        self,
        job: Job,
        tests: GeneratedTests,
        texts: Sequence[str],
        seconds: float,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> _Results:
        """Run tests for each text of the subject's file."""
        if not tests.tests:
            return _Results()
        mark = new_mark()
        edits = self._edits(job, tests, mark)
        written = self._overlays.texts(edits)[self._project.test_file]
        files, lines = self._files(job, written, texts, mark)
        job_file = f"{_WORK}/job"
        files[job_file] = "".join(f"{key}\0{value}\0" for key, value in lines)
        files[job_file] += f"mark\0{mark}\0seconds\0{seconds}\0"
        limit = _SECONDS_TO_COMPILE + _SECONDS_OF_MUTANT * len(texts)
        request = {
            "command": self._command(job_file),
            "folder": PRIVATE_FOLDER,
            "environment": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **environment},
            "seconds": limit,
            "reports": [_RESULTS],
            "variants": [files],
        }
        result = self._overlays.run(program_command(request), edits, limit + _MARGIN_S)
        endings = Ending.of(result.output)
        ending = endings[0] if endings else Ending(output=result.output.decode("utf-8", "replace"))
        if match := _COMPILED.match("".join(ending.reports)):
            self._program = match[1]
        return _read(ending, len(tests.tests))

    def _command(self, job_file: str) -> list[str]:
        """Return the command of the program, which starts faster if it is compiled already."""
        if not self._program:
            return [*self._java, f"{_WORK}/Controller.java", job_file]
        command = [*self._java, "-cp", _JAR, "starcoderlsp.Controller", job_file]
        return ["/bin/sh", "-c", _UNPACK, "sh", *command]

    @property
    def _java(self) -> list[str]:
        properties = [f"-Djava.io.tmpdir={PRIVATE_FOLDER}", f"-Duser.home={PRIVATE_FOLDER}"]
        encoding = "-Dfile.encoding=UTF-8"
        return [str(self._project.java), *_OPTIONS, _MEMORY, *properties, encoding]

    def _files(
        self, job: Job, written: str, texts: Sequence[str], mark: str
    ) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Return files for the private folder, and what the program must know."""
        project = self._project
        program = ["Controller", "Worker", "Seen", _ADAPTERS[project.framework]]
        files = {
            f"{_WORK}/{name}.java": (_PROGRAM / f"{name}.java").read_text(encoding="utf-8")
            for name in program
        }
        if self._program:
            files = {f"{_JAR}.txt": self._program}
        test_file = f"{_WORK}/tests/{project.test_file.name}"
        variants = [f"{_WORK}/{i}/{job.subject.path.name}" for i in range(len(texts))]
        files |= {test_file: written, **dict(zip(variants, texts, strict=True))}
        prefix = f"{project.package}." if project.package else ""
        lists: dict[str, Sequence[object]] = {
            "program": [f"{_WORK}/{name}.java" for name in program],
            "compiled": [_JAR] if self._program else [],
            "framework": [_ADAPTERS[project.framework]],
            "class": [f"{prefix}{project.test_file.stem}"],
            "subject": [f"{prefix}{job.subject.path.stem}"],
            "test": [test_file],
            "variant": variants,
            "method": list(_methods(written, mark)),
            "java": self._java,
            "jar": project.jars,
            "root": project.roots,
            "resources": project.resources,
            "option": project.options,
            "folder": [project.folder],
            "results": [_RESULTS],
        }
        return files, [(key, str(value)) for key, values in lists.items() for value in values]

    def _edits(self, job: Job, tests: GeneratedTests, mark: str) -> list[FileEdit]:
        """Return edits that add tests whose names are the mark and a number."""
        marked = [
            replace(test, text=_renamed(test.text, test.name, f"{mark}_{number}"))
            for number, test in enumerate(tests.tests)
        ]
        placed = job.place(replace(tests, tests=tuple(marked)))
        return [*placed, FileEdit(job.subject.path, 0, 0, "")]


def _renamed(text: str, name: str, new_name: str) -> str:
    return re.sub(rf"\bvoid\s+{re.escape(name)}\b", f"void {new_name}", text, count=1)


def _methods(text: str, mark: str) -> Iterator[str]:
    """Yield the numbers of tests, with the lines at which they begin and end, from 1."""
    root = parse(text, "java")
    for node in nodes(root) if root is not None else ():
        name = node.child_by_field_name("name") if node.type == "method_declaration" else None
        text_of_name = (name.text or b"").decode() if name is not None else ""
        if text_of_name.startswith(f"{mark}_"):
            number = text_of_name.removeprefix(f"{mark}_")
            yield f"{number} {node.start_point[0] + 1} {node.end_point[0] + 1}"


def _read(ending: Ending, num_tests: int) -> _Results:
    """Return the results in the reports. A test may have written anything into them."""
    passed: dict[int, set[int]] = defaultdict(set)
    failed: dict[int, set[int]] = defaultdict(set)
    seen: dict[int, dict[int, list[Event]]] = defaultdict(lambda: defaultdict(list))
    problem, numbers = "", range(num_tests)
    for line in "".join(ending.reports).split("\n"):
        match _parsed(line):
            case ["refused", int(number)] if number in numbers:
                failed[0].add(number)
            case ["problem", str(text)] | [int(), "problem", str(text)]:
                problem = problem or text
            case [int(variant), "passed", int(number)] if number in numbers:
                passed[variant].add(number)
            case [int(variant), "failed", int(number)] if number in numbers:
                failed[variant].add(number)
            case [0, str(event), int(test), int(index), *values] if event in EVENTS:
                seen[test][index].append((event, values))
            case _:
                continue
    return _Results(
        {variant: frozenset(own) for variant, own in passed.items()},
        {variant: frozenset(own) for variant, own in failed.items()},
        seen,
        problem or problem_of(ending.output),
    )


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None  # it was cut, or a test has written it
