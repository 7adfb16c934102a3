"""The interface of a dialect: how one test framework writes tests.

How to add a test framework, for example Kotlin's:

1. Check that `syntax/grammars.py` has a grammar of the language, and that `syntax.symbols` finds
   its functions and classes (`tests/syntax/test_symbols.py` has one sample per language).
2. Add the framework's name to `Framework` below.
3. Create `chat/tasks/dialects/kotlin.py` with two things:
   - A subclass of `Dialect` that implements the abstract methods below. `go.py` and `java.py` are
     good models. Use `find_snippets` to find complete tests in what the model wrote.
   - `kotlin_convention(subject, files) -> Convention`: the framework that the project uses, the
     file for the tests, the dialect, and an existing test as an example. It raises RequestError if
     no test can call the subject. `java_convention.py` is the shortest one.
4. Register the function in `chat/tasks/dialects/registry.py`, under the name of the grammar. Add
   the language to the error message there.
5. Add a small project to `PROJECTS` in `tests/chat/tasks/projects.py`. The tests in
   `tests/chat/tasks/test_write_tests.py` then check its file, its syntax, and that no code is lost.
6. Add the framework to the list in `docs/chat.md`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chat.tasks.target import FileEdit
from syntax.symbols import Symbol

Framework = Literal[
    "pytest", "unittest", "jest", "vitest", "node", "go", "cargo", "junit5", "junit4"
]

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Subject:
    """The function or class to test."""

    symbol: Symbol
    path: Path
    """The source file."""
    text: str
    """The content of the source file, with line feeds as line endings and no byte order mark."""
    language: str
    """The LSP language id of the source file."""
    framework: Framework | None = None
    """The test framework that the user asks for, None for that of the project."""

    @property
    def class_name(self) -> str:
        """Name of the subject if it is a class, else of the class around it; "" if none."""
        if self.symbol.kind == "class":
            return self.symbol.name
        return self.symbol.parents[-1] if self.symbol.parents else ""

    @property
    def imported_name(self) -> str:
        """The name that a test imports: the outermost class around the subject, or the subject."""
        return self.symbol.parents[0] if self.symbol.parents else self.symbol.name

    @property
    def snake_case(self) -> str:
        """The subject's name in snake_case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.symbol.name).strip("_").lower()

    @property
    def camel_case(self) -> str:
        """The subject's name in CamelCase."""
        return "".join(word[:1].upper() + word[1:] for word in self.symbol.name.split("_"))


@dataclass(frozen=True, slots=True)
class Snippet:
    """One complete definition in the model's answer: a test, or a helper of tests."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class GeneratedTests:
    """The usable parts of the model's answer."""

    imports: tuple[str, ...]
    """Import lines, or module names, depending on the dialect."""
    helpers: tuple[Snippet, ...]
    tests: tuple[Snippet, ...]

    def joined(self, separator: str = "\n\n") -> str:
        """Return the code of the helpers and then of the tests."""
        return separator.join(snippet.text for snippet in (*self.helpers, *self.tests))

    def merged(self, others: GeneratedTests) -> GeneratedTests:
        """Return these tests and then others. Of helpers with the same name the first one stays."""
        names = {helper.name for helper in self.helpers}
        helpers = (*self.helpers, *(each for each in others.helpers if each.name not in names))
        imports = tuple(dict.fromkeys((*self.imports, *others.imports)))
        return GeneratedTests(imports, helpers, (*self.tests, *others.tests))


@dataclass(frozen=True, slots=True)
class Destination:
    """The file for the tests. `text` and all offsets have line feeds as line endings.

    An edit gets the line endings that the file has: CR LF, LF, or CR alone.
    """

    path: Path
    original: str | None
    """The content of the file as it is, None if the file does not exist yet."""

    @property
    def text(self) -> str:
        """The content with line feeds, empty for a new file."""
        return with_line_feeds(self.original or "")

    @property
    def has_code(self) -> bool:
        """Whether the file contains more than white space."""
        return bool(self.text.strip())

    def fill(self, text: str) -> FileEdit:
        """Return an edit that makes `text` the content of a file without code."""
        end = len(self.original or "")
        return FileEdit(self.path, 0, end, self._in_line_ends(text), self.original is None)

    def insert(self, position: int, text: str) -> FileEdit:
        """Return an edit that inserts `text` at an offset in `self.text`."""
        original = self.original or ""
        offset = position
        for match in _LINE_END.finditer(original):
            if match.start() >= offset:
                break
            offset += len(match[0]) - 1
        return FileEdit(self.path, offset, offset, self._in_line_ends(text))

    def append(self, code: str, blank_lines: int = 1) -> FileEdit:
        """Return an edit that appends code, with blank lines between it and the rest."""
        text = self.text
        num_line_ends = len(text) - len(text.rstrip("\n"))
        num_missing = max(0, blank_lines + 1 - num_line_ends) if text.strip() else 0
        return self.insert(len(text), "\n" * num_missing + code.strip() + "\n")

    def _in_line_ends(self, text: str) -> str:
        match = _LINE_END.search(self.original or "")
        return text.replace("\n", match[0]) if match else text


class Dialect(ABC):
    """One test framework in one project. The module's docstring says how to add another.

    The model's answer begins with text that the dialect chooses: either `file_head` and
    `test_opening`, or `test_opening` and `first_call`. `parse` finds the complete tests in the
    answer, `place` puts the selected ones into the test file.
    """

    framework: str
    """The framework's name in the prompt."""
    fence: str
    """The language's name in a markdown code fence."""
    language: str
    """The LSP language id by which the tests are parsed."""
    assertion: re.Pattern[str]
    """Pattern that matches an assertion. A test without a match is not used."""
    qualifier = ""
    """Text before the subject's name if tests are outside of its package, such as `geo.`."""
    blank_lines = 1
    """Number of blank lines before a test that is appended to a file."""
    name_end = "("
    """The text that ends the name of a test."""

    @abstractmethod
    def file_head(self, subject: Subject) -> str:
        """Return the imports that every test file of the subject needs."""

    @abstractmethod
    def test_opening(self, subject: Subject, name: str = "") -> str:
        """Return the beginning of the first test, up to its name: `name`, or that of the subject.

        The model may make the name of the subject longer.
        """

    def test_name(self, words: str) -> str:
        """Return the name that an instruction asks for in the form of the framework.

        It may be a name or a phrase. The default is an identifier in snake_case.
        """
        return "_".join(re.findall(r"\w+", words))

    @abstractmethod
    def first_call(self, subject: Subject) -> str:
        """Return code that follows the opening, up to the arguments of a call of the subject.

        It is for models that do not write a test without this help.
        """

    @abstractmethod
    def parse(self, code: str) -> GeneratedTests:
        """Return the tests and helpers in the model's code that are complete and parse."""

    @abstractmethod
    def declared_names(self, existing: str) -> set[str]:
        """Return the names in an existing test file, which new tests must not use again."""

    @abstractmethod
    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        """Return the content of a new test file."""

    @abstractmethod
    def import_edits(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        """Return the edits that add missing imports to an existing test file."""

    def test_edit(self, generated: GeneratedTests, subject: Subject, file: Destination) -> FileEdit:
        """Return the edit that adds the tests to an existing test file, by default at its end."""
        return file.append(generated.joined(), self.blank_lines)

    def place(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        """Return the edits that put tests into the test file."""
        if not file.has_code:
            return [file.fill(self.new_file(generated, subject))]
        return [
            *self.import_edits(generated, subject, file),
            self.test_edit(generated, subject, file),
        ]

    def has_all_names(
        self, test: Snippet, generated: GeneratedTests, subject: Subject, existing: str
    ) -> bool:
        """Whether all names that a test uses are defined. True if the dialect cannot check it.

        `existing` is the content of the test file, empty for a new file.
        """
        return True

    def rename(self, test: Snippet, name: str) -> Snippet:
        """Return a test with another name."""
        text = re.sub(rf"\b{re.escape(test.name)}\b", name, test.text, count=1)
        return Snippet(name, text)


def free_name(name: str, taken: set[str], separator: str = "_") -> str:
    """Return a name that is not taken: `name` itself, or `name` with the first free number."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}{separator}{number}", number + 1
    return free


def with_line_feeds(text: str) -> str:
    """Return a text with a line feed as the end of each line."""
    return _LINE_END.sub("\n", text)


def indent(text: str) -> str:
    """Return code indented by four spaces."""
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))
