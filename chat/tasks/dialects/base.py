"""What dialects of tests have in common: finding whole tests in what a model wrote."""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import tree_sitter

from chat.tasks.target import FileEdit
from syntax.grammars import parse
from syntax.symbols import Symbol


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be tested, and where its tests go."""

    symbol: Symbol
    path: Path
    text: str
    """The source file."""
    file: Path
    """The test file."""
    root: Path

    @property
    def holder(self) -> str:
        """Name of the class that holds it, its own if it is one, empty for a plain function."""
        if self.symbol.kind == "class":
            return self.symbol.name
        return self.symbol.parents[-1] if self.symbol.parents else ""

    @property
    def entry(self) -> str:
        """The name that a test imports: the outermost class, or the function."""
        return self.symbol.parents[0] if self.symbol.parents else self.symbol.name

    @property
    def words(self) -> str:
        """Its name as words joined by underscores."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.symbol.name).strip("_").lower()

    @property
    def camel(self) -> str:
        """Its name as words begun with capitals."""
        return "".join(word[:1].upper() + word[1:] for word in self.symbol.name.split("_"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A test, or something that tests need."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Units:
    """What was found in what a model wrote."""

    imports: tuple[str, ...]
    helpers: tuple[Unit, ...]
    tests: tuple[Unit, ...]


class Dialect(ABC):
    """One framework's way."""

    framework: str
    """Its name, for the prompt."""
    fence: str
    """The language's name in markdown."""
    language: str
    """Its language id."""
    asserts: re.Pattern[str]
    """What a test that tests anything holds."""

    @abstractmethod
    def head(self, subject: Subject) -> str:
        """Return what surely stands before the first test: imports."""

    @abstractmethod
    def opening(self, subject: Subject) -> str:
        """Return how the first test begins, up to its name."""

    @abstractmethod
    def first_call(self, subject: Subject) -> str:
        """Return what may follow the opening, up to the arguments of a call of the subject.

        For a model that does not find into a test by itself.
        """

    @abstractmethod
    def units(self, code: str) -> Units:
        """Return the whole and parsing units of what a model wrote."""

    @abstractmethod
    def names(self, existing: str) -> set[str]:
        """Return the names that new tests must not have."""

    @abstractmethod
    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        """Return the edits that put tests into the test file, None being one that is not there."""

    def knows_all(self, unit: Unit, units: Units, subject: Subject, existing: str | None) -> bool:
        """Whether all that a test names is there; where that cannot be told, yes."""
        return True

    def renamed(self, unit: Unit, name: str) -> Unit:
        """Return a unit under another name."""
        text = re.sub(rf"\b{re.escape(unit.name)}\b", name, unit.text, count=1)
        return Unit(name, text)


def select(
    units: Units, subject: Subject, dialect: Dialect, existing: str | None, *, whole: bool
) -> Units:
    """Return those units that test the subject, under names that are free, with what they need.

    Where the answer was cut off, its last test may be half of what it was to be, and goes.
    """
    tests = list(units.tests if whole else units.tests[:-1])
    tests = [
        one
        for one in tests
        if tests_it(one, subject)
        and dialect.asserts.search(one.text)
        and dialect.knows_all(one, units, subject, existing)
    ]
    taken = dialect.names(existing) if existing else set()
    chosen: list[Unit] = []
    for one in tests:
        if existing and one.text.strip() in existing:
            continue
        name = one.name
        number = 2
        while name in taken:
            name, number = f"{one.name}_{number}", number + 1
        taken.add(name)
        chosen.append(one if name == one.name else dialect.renamed(one, name))
    return replace(units, tests=tuple(chosen), helpers=tuple(needed(units.helpers, chosen, taken)))


def needed(helpers: Iterable[Unit], tests: list[Unit], taken: set[str]) -> Iterator[Unit]:
    """Yield the helpers that tests use and the file does not have."""
    used = "\n".join(one.text for one in tests)
    for one in helpers:
        if one.name not in taken and re.search(rf"\b{re.escape(one.name)}\b", used):
            yield one


def tests_it(unit: Unit, subject: Subject) -> bool:
    """Whether a test calls the subject, or hands it on."""
    name = re.escape(subject.symbol.name)
    if subject.symbol.kind == "function" and subject.holder:
        name = rf"(?:[.:]{name}|{re.escape(subject.holder)})"
        return re.search(rf"{name}\s*[(.<!]", unit.text) is not None
    return re.search(rf"(?<![\w.\"'`]){name}\s*[(.<!,)]", unit.text) is not None


def whole_nodes(
    code: str,
    starts: re.Pattern[str],
    language: str,
    kinds: frozenset[str],
    around: tuple[str, str] = ("", ""),
) -> Iterator[tuple[tree_sitter.Node, str]]:
    """Yield (node, text) of what begins at each match of `starts` and parses by itself.

    Each is parsed apart from the others, within `around`, so that one that is broken costs no
    other.
    """
    places = [found.start() for found in starts.finditer(code)]
    for start, end in pairwise([*places, len(code)]):
        snippet = textwrap.dedent(code[start:end]).lstrip()
        root = parse(around[0] + snippet + around[1], language)
        if root is None:
            return
        node = _at(root, len(around[0].encode()), kinds)
        if node is not None and not node.has_error:
            yield node, (node.text or b"").decode("utf-8", "replace")


def _at(node: tree_sitter.Node, start: int, kinds: frozenset[str]) -> tree_sitter.Node | None:
    """Return the outermost node of certain kinds that begins at a byte."""
    waiting = [node]
    while waiting:
        one = waiting.pop(0)
        if one.type in kinds and one.start_byte == start:
            return one
        waiting += [inner for inner in one.named_children if inner.end_byte > start]
    return None


def name_in(text: str, pattern: re.Pattern[str]) -> str:
    """Return the first group of the first match, empty for none."""
    found = pattern.search(text)
    return found[1] if found else ""


def in_line_ends_of(text: str, existing: str) -> str:
    """Return text with the line ends that a file has."""
    return text.replace("\n", "\r\n") if "\r\n" in existing else text


def appended(existing: str, added: str, blank_lines: int = 1) -> str:
    """Return what to write at the end of a file, so that it stands apart from what is there."""
    have = len(existing) - len(existing.rstrip("\n"))
    missing = max(0, blank_lines + 1 - have) if existing.strip() else 0
    return "\n" * missing + added.rstrip("\n") + "\n"
