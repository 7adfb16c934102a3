"""The projects whose functions a model writes tests for: `projects/ECOSYSTEM/NAME.txtar`.

A file begins with lines such as `symbol: Account.withdraw`, then has the files of the project, each
after a line `-- path --`. That is the format `txtar` of Go's own tests, in which no text must be
quoted, and no tool takes the code of a project for code of this repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chat.tasks.dialects.base import Framework
from chat.tasks.target import Target
from syntax.symbols import Symbol, find_symbols

FOLDER = Path(__file__).with_name("projects")
ECOSYSTEMS = ("python", "javascript", "typescript", "go", "rust", "java")
"""The folders in `FOLDER`. They are also the LSP language ids of the source files."""

_FILE = re.compile(r"^-- (\S+) --\n", re.M)


@dataclass(frozen=True, slots=True)
class Project:
    """A small project with a function, method or class that needs tests."""

    name: str
    ecosystem: str
    framework: Framework
    """The framework in which the tests of the project are written."""
    source: str
    """The path of the file with the symbol."""
    symbol: str
    """The name of the symbol; for a method `Class.method`."""
    test_file: str
    """The path at which the runner of the project expects tests of this file. In Rust it can be the
    source file itself."""
    topics: tuple[str, ...]
    """What is special about the symbol, in words that other projects use too."""
    files: dict[str, str]
    """The texts of all files, by path."""

    @property
    def text(self) -> str:
        """The text of the source file."""
        return self.files[self.source]

    def materialize(self, folder: Path) -> Target:
        """Write the files into a folder, and return the target with the cursor at the symbol."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        source, cursor = folder / self.source, self._cursor()
        return Target(source.as_uri(), source, self.ecosystem, self.text, cursor, cursor)

    def _cursor(self) -> int:
        """Return the offset of the symbol's name in its definition."""
        symbol = self._symbol()
        match = re.compile(rf"\b{re.escape(symbol.name)}\b").search(self.text, symbol.start)
        assert match is not None
        return match.start()

    def _symbol(self) -> Symbol:
        for symbol in find_symbols(self.text, self.ecosystem):
            if ".".join((*symbol.parents, symbol.name)) == self.symbol:
                return symbol
        raise ValueError(f"{self.name}: {self.source} has no symbol {self.symbol}")


def load_projects(
    names: Iterable[str] = (), ecosystems: Iterable[str] = ECOSYSTEMS
) -> list[Project]:
    """Return the projects of these ecosystems; only those with these names if there are any.

    Raises ValueError for names that do not exist in these ecosystems.
    """
    paths = [path for each in ecosystems for path in sorted((FOLDER / each).glob("*.txtar"))]
    if unknown := sorted(set(names) - {path.stem for path in paths}):
        raise ValueError(f"There is no function {', '.join(unknown)}.")
    return [read_project(path) for path in paths if not names or path.stem in names]


def read_project(path: Path) -> Project:
    """Read one file; its folder is the ecosystem. Raises ValueError if it is not complete."""
    head, *parts = _FILE.split(path.read_text(encoding="utf-8"))
    fields = dict(line.split(": ", 1) for line in head.splitlines() if line)
    try:
        return Project(
            name=path.stem,
            ecosystem=path.parent.name,
            framework=fields["framework"],  # type: ignore[arg-type]  # a test checks it
            source=fields["source"],
            symbol=fields["symbol"],
            test_file=fields["tests"],
            topics=tuple(fields["topics"].split(", ")),
            files=dict(zip(parts[::2], parts[1::2], strict=True)),
        )
    except KeyError as error:
        raise ValueError(f"{path}: the line {error} is missing") from None
