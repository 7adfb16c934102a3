"""Runs tests of small projects in the real sandbox."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chat.tasks.checking.runner import Job, Runner
from chat.tasks.checking.runners import open_runner
from chat.tasks.dialects.base import Destination, GeneratedTests, Snippet, Subject, with_line_feeds
from chat.tasks.dialects.registry import find_convention
from chat.tasks.target import WorkspaceFiles
from sandbox.sandbox import isolation_problem, make_sandbox
from syntax.mutations import Mutation, find_mutations
from syntax.symbols import enclosing_symbol
from tests.conftest import OPTIONAL

NODE_24 = Path(__file__).parents[4] / ".editors" / "node" / "node_modules" / ".bin"
"""Where `make test-editors` installs a Node that runs TypeScript."""


@dataclass
class Opened:
    """A project whose tests can be run."""

    runner: Runner
    job: Job
    generated: GeneratedTests

    @property
    def mutations(self) -> Sequence[Mutation]:
        subject = self.job.subject
        symbol = subject.symbol
        return find_mutations(subject.text, subject.language, symbol.start, symbol.end, 6)

    def repaired(self) -> list[str]:
        return [test.text for test in self.runner.repair(self.job, self.generated).tests]


def require_program(name: str) -> None:
    if (problem := isolation_problem()) is not None:
        pytest.skip(OPTIONAL + problem)
    if shutil.which(name) is None:
        pytest.skip(f"{OPTIONAL}{name} is not installed")


@contextmanager
def opened(
    root: Path, files: dict[str, str], cursor: str, language: str, *tests: tuple[str, str]
) -> Iterator[Opened]:
    """Write files, and open the runner for tests of the function with `cursor` in the first file.

    Tests are pairs of a name and a text.
    """
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    source = root / next(iter(files))
    text = with_line_feeds(source.read_bytes().decode())
    position = text.index(cursor)
    symbol = enclosing_symbol(text, language, position)
    assert symbol is not None
    subject = Subject(symbol, source, text, language)
    workspace = WorkspaceFiles(root)
    convention = find_convention(subject, workspace)
    original = workspace.read(convention.test_file)
    existing = None if original is None else with_line_feeds(original)
    destination = Destination(convention.test_file, existing)
    job = Job(subject, lambda tests: convention.dialect.place(tests, subject, destination))
    generated = GeneratedTests((), (), tuple(Snippet(*test) for test in tests))
    before = contents(root)
    with open_runner(subject, convention, workspace, make_sandbox()) as runner:
        yield Opened(runner, job, generated)
    assert contents(root) == before  # nothing was written into the project


def contents(root: Path) -> dict[str, bytes]:
    paths = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    own = (path for path in paths if "node_modules" not in path.parts)
    return {str(path): path.read_bytes() for path in own}
