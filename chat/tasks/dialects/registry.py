"""All supported languages."""

from __future__ import annotations

from collections.abc import Callable

from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.go_convention import go_convention
from chat.tasks.dialects.java_convention import java_convention
from chat.tasks.dialects.javascript_convention import javascript_convention
from chat.tasks.dialects.python_convention import python_convention
from chat.tasks.dialects.rust_convention import rust_convention
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError
from syntax.grammars import grammar_name

CONVENTIONS: dict[str, Callable[[Subject, WorkspaceFiles], Convention]] = {
    "python": python_convention,
    "javascript": javascript_convention,
    "typescript": javascript_convention,
    "go": go_convention,
    "rust": rust_convention,
    "java": java_convention,
}
"""The function that reads a project's convention, by the name of the language's grammar."""


def find_convention(subject: Subject, files: WorkspaceFiles) -> Convention:
    """Return how tests for a function or class are written in its project.

    Raises RequestError for a language without a supported test framework, and if no test can call
    the subject.
    """
    read_convention = CONVENTIONS.get(grammar_name(subject.language) or "")
    if read_convention is None:
        raise RequestError(
            "Tests can be written for Python, JavaScript, TypeScript, Go, Rust and Java, not for "
            f"{subject.language or 'this file'}."
        )
    return read_convention(subject, files)
