"""All supported languages and test frameworks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chat.tasks.conventions import Convention, Framework
from chat.tasks.dialects.base import Dialect
from chat.tasks.dialects.go import Go, go_convention
from chat.tasks.dialects.java import JUnit, java_convention
from chat.tasks.dialects.javascript import JavaScript
from chat.tasks.dialects.javascript_convention import javascript_convention
from chat.tasks.dialects.python import Pytest, Unittest
from chat.tasks.dialects.python_convention import python_convention
from chat.tasks.dialects.rust import Cargo, rust_convention
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError
from syntax.grammars import grammar_name

CONVENTIONS: dict[str, Callable[[Path, WorkspaceFiles], Convention]] = {
    "python": python_convention,
    "javascript": javascript_convention,
    "typescript": javascript_convention,
    "go": go_convention,
    "rust": rust_convention,
    "java": java_convention,
}
"""The function that reads a project's convention, by the name of the language's grammar."""

DIALECTS: dict[Framework, Dialect] = {
    "pytest": Pytest(),
    "unittest": Unittest(),
    "jest": JavaScript("jest", None),
    "vitest": JavaScript("vitest", "vitest"),
    "node": JavaScript("node:test", "node:test"),
    "go": Go(),
    "cargo": Cargo(),
    "junit5": JUnit("JUnit 5", "org.junit.jupiter.api"),
    "junit4": JUnit("JUnit 4", "org.junit"),
}
"""The dialect of each test framework."""


def find_convention(source: Path, language: str, files: WorkspaceFiles) -> Convention:
    """Return how tests for a source file are written in its project.

    Raises RequestError for a language without a supported test framework.
    """
    read_convention = CONVENTIONS.get(grammar_name(language) or "")
    if read_convention is None:
        raise RequestError(
            "Tests can be written for Python, JavaScript, TypeScript, Go, Rust and Java, not for "
            f"{language or 'this file'}."
        )
    return read_convention(source, files)
