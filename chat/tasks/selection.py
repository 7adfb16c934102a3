"""Select the tests in a model's answer that can be added to the project."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from chat.asker import FinishedAnswer
from chat.attachments import code_blocks
from chat.tasks.dialects.base import Dialect, GeneratedTests, Snippet, Subject, free_name
from chat.tasks.target import FileEdit
from syntax.grammars import count_errors


def select_tests(
    begin: str, answer: FinishedAnswer, subject: Subject, dialect: Dialect, existing: str | None
) -> GeneratedTests:
    """Return the usable tests of an answer that begins with `begin`, possibly none.

    The test file still parses with them. If it does not, tests are dropped from the end.
    """
    code = (code_blocks(f"```\n{begin}{answer.text}") or [""])[0]
    generated = dialect.parse(code)
    if not answer.is_complete:
        # The last test may be incomplete even if it parses.
        generated = replace(generated, tests=generated.tests[:-1])
    selected = _select(generated, subject, dialect, existing)
    while selected.tests:
        edits = dialect.place(selected, subject, existing)
        if not _adds_errors(edits, existing, dialect.language):
            return selected
        selected = replace(selected, tests=selected.tests[:-1])
    return selected


def _select(
    generated: GeneratedTests, subject: Subject, dialect: Dialect, existing: str | None
) -> GeneratedTests:
    """Return the tests that use the subject and assert, under free names, with their helpers."""
    taken = dialect.declared_names(existing) if existing else set()
    selected: list[Snippet] = []
    for test in generated.tests:
        is_usable = (
            uses_subject(test, subject)
            and dialect.assertion.search(test.text)
            and dialect.has_all_names(test, generated, subject, existing)
        )
        if not is_usable or (existing and test.text.strip() in existing):
            continue
        name = free_name(test.name, taken)
        taken.add(name)
        selected.append(test if name == test.name else dialect.rename(test, name))
    helpers = _needed_helpers(generated.helpers, selected, taken)
    return replace(generated, tests=tuple(selected), helpers=helpers)


def _needed_helpers(
    helpers: Iterable[Snippet], tests: list[Snippet], taken: set[str]
) -> tuple[Snippet, ...]:
    """Return the helpers that tests use and that the file does not have."""
    code = "\n".join(test.text for test in tests)
    return tuple(
        helper
        for helper in helpers
        if helper.name not in taken and re.search(rf"\b{re.escape(helper.name)}\b", code)
    )


def uses_subject(test: Snippet, subject: Subject) -> bool:
    """Whether a test calls the subject, or passes it as an argument."""
    name = re.escape(subject.symbol.name)
    if subject.symbol.kind == "function" and subject.class_name:
        name = rf"(?:[.:]{name}|{re.escape(subject.class_name)})"
        return re.search(rf"{name}\s*[(.<!]", test.text) is not None
    return re.search(rf"(?<![\w.\"'`]){name}\s*[(.<!,)]", test.text) is not None


def _adds_errors(edits: list[FileEdit], existing: str | None, language: str) -> bool:
    """Whether the test file has more syntax errors after the edits."""
    before = text = existing or ""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return (count_errors(text, language) or 0) > (count_errors(before, language) or 0)
