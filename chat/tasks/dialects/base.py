"""The interface of a dialect: how one test framework writes tests.

How to add a test framework, for example Kotlin's:

1. Check that `syntax/grammars.py` has a grammar of the language, and that `syntax.symbols` finds
   its functions and classes (`tests/syntax/test_symbols.py` has one sample per language).
2. Add the framework's name to `chat.tasks.conventions.Framework`.
3. Create `chat/tasks/dialects/kotlin.py` with two things:
   - `kotlin_convention(source, files) -> Convention`: the framework that the project uses, the file
     for the tests, and an existing test as an example. `go.py` has the shortest one.
   - A subclass of `Dialect` that implements the abstract methods below. `go.py` and `java.py` are
     good models. Use `find_snippets` to find complete tests in what the model wrote.
4. Register both in `chat/tasks/dialects/registry.py`, under the name of the grammar and under the
   name of the framework. Add the language to the error message there.
5. Add a small project to `PROJECTS` in `tests/chat/tasks/projects.py`. The tests in
   `tests/chat/tasks/test_write_tests.py` then check its file, its syntax, and that no code is lost.
6. Add the framework to the list in `docs/chat.md`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from chat.tasks.target import FileEdit
from syntax.symbols import Symbol


@dataclass(frozen=True, slots=True)
class Subject:
    """The function or class to test, and the file for its tests."""

    symbol: Symbol
    path: Path
    """The source file."""
    text: str
    """The content of the source file."""
    test_file: Path
    root: Path
    """The workspace folder."""

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


class Dialect(ABC):
    """One test framework. The module's docstring says how to add another.

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
    blank_lines = 1
    """Number of blank lines before a test that is appended to a file."""

    @abstractmethod
    def file_head(self, subject: Subject) -> str:
        """Return the imports that every test file of the subject needs."""

    @abstractmethod
    def test_opening(self, subject: Subject) -> str:
        """Return the beginning of the first test, up to its name."""

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
        self, generated: GeneratedTests, subject: Subject, existing: str
    ) -> list[FileEdit]:
        """Return the edits that add missing imports to an existing test file."""

    def test_edit(self, generated: GeneratedTests, subject: Subject, existing: str) -> FileEdit:
        """Return the edit that adds the tests to an existing test file, by default at its end."""
        return append(subject.test_file, existing, generated.joined(), self.blank_lines)

    def place(
        self, generated: GeneratedTests, subject: Subject, existing: str | None
    ) -> list[FileEdit]:
        """Return the edits that put tests into the test file. `existing` is None for a new file."""
        if existing is None or not existing.strip():
            text = self.new_file(generated, subject)
            is_new = existing is None
            return [FileEdit(subject.test_file, 0, len(existing or ""), text, creates=is_new)]
        return [
            *self.import_edits(generated, subject, existing),
            self.test_edit(generated, subject, existing),
        ]

    def has_all_names(
        self, test: Snippet, generated: GeneratedTests, subject: Subject, existing: str | None
    ) -> bool:
        """Whether all names that a test uses are defined. True if the dialect cannot check it."""
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


def insert(file: Path, existing: str, position: int, text: str) -> FileEdit:
    """Return an edit that inserts text, with the line ends of the existing file."""
    text = text.replace("\n", "\r\n") if "\r\n" in existing else text
    return FileEdit(file, position, position, text)


def append(file: Path, existing: str, code: str, blank_lines: int = 1) -> FileEdit:
    """Return an edit that appends code to a file, with blank lines between it and the rest."""
    unix_text = existing.replace("\r\n", "\n")
    num_line_ends = len(unix_text) - len(unix_text.rstrip("\n"))
    num_missing = max(0, blank_lines + 1 - num_line_ends) if unix_text.strip() else 0
    return insert(file, existing, len(existing), "\n" * num_missing + code.strip() + "\n")


def indent(text: str) -> str:
    """Return code indented by four spaces."""
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))
