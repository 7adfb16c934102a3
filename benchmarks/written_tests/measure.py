"""Lets the product write tests for the functions, and measures each of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.written_tests.project import Project
from benchmarks.written_tests.runners import TestRun, copy_linked, modules_with
from chat.asker import Asker
from chat.tasks.checking.checking import CheckSettings
from chat.tasks.summary import Summary
from chat.tasks.target import FileEdit, Proposal, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError

Run = Callable[[Project, Path], TestRun]
"""Function that runs the tests of a project in a folder."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What happened for one function."""

    name: str
    ecosystem: str
    framework: str
    topics: tuple[str, ...]
    seconds: float
    """Seconds from the request to the proposal, or to the message that there is none."""
    title: str = ""
    """The title of the proposal, empty if there is none."""
    problem: str = ""
    """The message of the product if there is no proposal."""
    tests: str = ""
    """The text that the proposal adds."""
    note: str = ""
    """What the proposal says about its tests."""
    checked: Summary | None = None
    """What the product's own run showed, None if it could not run the tests."""
    run: TestRun | None = None
    """The independent run of the shown tests, None if there are none."""

    @property
    def has_test(self) -> bool:
        """Whether at least one test was shown."""
        return self.run is not None


async def measure_all(
    projects: Sequence[Project],
    asker: Asker,
    run: Run,
    *,
    modules: Sequence[Path] = (),
    check: CheckSettings | None = None,
) -> AsyncIterator[Measurement]:
    """Yield the measurements in the order of the projects, each as soon as it is complete.

    `modules` are `node_modules` folders for projects that need Vitest or Jest. With `check` the
    product runs tests before it shows them.
    """
    for project in projects:
        with tempfile.TemporaryDirectory(prefix="written-tests-") as name:
            own_modules = modules_with(project.framework, modules)
            if own_modules is not None:
                await asyncio.to_thread(copy_linked, own_modules, Path(name) / "node_modules")
            yield await measure(project, asker, run, Path(name), check)


async def measure(
    project: Project, asker: Asker, run: Run, folder: Path, check: CheckSettings | None = None
) -> Measurement:
    """Let the product write tests for one function in an empty folder, and run those it shows."""
    target = project.materialize(folder)
    about = (project.name, project.ecosystem, project.framework, project.topics)
    started = time.perf_counter()
    try:
        files = WorkspaceFiles(folder, boundary=folder)
        proposal = await write_tests(target, asker, files, check=check)
    except RequestError as error:
        return Measurement(*about, time.perf_counter() - started, problem=error.user_message)
    seconds = time.perf_counter() - started
    accept(proposal)
    result = _misplaced(proposal, folder / project.test_file)
    result = result or await asyncio.to_thread(run, project, folder)
    tests = "".join(edit.text for edit in proposal.edits)
    return Measurement(
        *about,
        seconds,
        proposal.title,
        tests=tests,
        note=proposal.note,
        checked=proposal.checked,
        run=result,
    )


def accept(proposal: Proposal) -> None:
    """Write the edits of a proposal to their files, as an editor does."""
    for edit in sorted(proposal.edits, key=lambda edit: -edit.start):
        assert isinstance(edit, FileEdit)
        text = edit.path.read_text(encoding="utf-8") if edit.path.exists() else ""
        edit.path.parent.mkdir(parents=True, exist_ok=True)
        edit.path.write_text(text[: edit.start] + edit.text + text[edit.end :], encoding="utf-8")


def _misplaced(proposal: Proposal, expected: Path) -> TestRun | None:
    """Return a failed run if tests are in another file than the runner of the project expects."""
    others = [
        str(edit.path)
        for edit in proposal.edits
        if isinstance(edit, FileEdit) and edit.path != expected
    ]
    return TestRun("failed", detail=f"the tests are in {', '.join(others)}") if others else None
