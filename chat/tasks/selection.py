"""Select the tests in a model's answer that can be added to the project."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from chat.asker import FinishedAnswer
from chat.attachments import code_blocks
from chat.tasks.dialects.base import (
    Destination,
    Dialect,
    GeneratedTests,
    Snippet,
    Subject,
    free_name,
    with_line_feeds,
)
from chat.tasks.target import FileEdit
from syntax.grammars import count_errors

_IMPLICIT = frozenset({"setUp", "tearDown", "setUpClass", "tearDownClass"})
"""Helpers that the framework calls by itself."""


def select_tests(
    begin: str,
    answer: FinishedAnswer,
    subject: Subject,
    dialect: Dialect,
    file: Destination,
    taken: Collection[str] = (),
) -> GeneratedTests:
    """Return the usable tests of an answer that begins with `begin`, possibly none.

    Their names are free in the test file and none of `taken`.

    The test file still parses with them. If it does not, tests are dropped from the end.
    """
    code = (code_blocks(f"```\n{begin}{answer.text}") or [""])[0]
    generated = dialect.parse(code)
    if not answer.is_complete:
        # The last test may be incomplete even if it parses.
        generated = replace(generated, tests=generated.tests[:-1])
    selected = _select(generated, subject, dialect, file.text, taken)
    while selected.tests:
        edits = dialect.place(selected, subject, file)
        if not _adds_errors(edits, file.original or "", dialect.language):
            return selected
        selected = replace(selected, tests=selected.tests[:-1])
    return selected


def select_all(
    answers: Iterable[tuple[str, FinishedAnswer]],
    subject: Subject,
    dialect: Dialect,
    file: Destination,
    taken: Collection[str] = (),
) -> GeneratedTests:
    """Return the usable tests of several answers, each with its beginning, without equal ones."""
    selected = GeneratedTests((), (), ())
    for begin, answer in answers:
        names = {each.name for each in (*selected.tests, *selected.helpers)}
        bodies = {_body(test) for test in selected.tests}
        tests = select_tests(begin, answer, subject, dialect, file, {*taken, *names})
        new = tuple(test for test in tests.tests if _body(test) not in bodies)
        selected = selected.merged(replace(tests, tests=new))
    return selected


def _body(test: Snippet) -> str:
    return test.text.replace(test.name, "", 1)


def _select(
    generated: GeneratedTests,
    subject: Subject,
    dialect: Dialect,
    existing: str,
    taken_names: Collection[str],
) -> GeneratedTests:
    """Return the tests that use the subject and assert, under free names, with their helpers."""
    taken = {*dialect.declared_names(existing), *taken_names}
    selected: list[Snippet] = []
    for test in generated.tests:
        is_usable = (
            uses_subject(test, subject, dialect.qualifier)
            and dialect.assertion.search(test.text)
            and dialect.has_all_names(test, generated, subject, existing)
        )
        if not is_usable or test.text.strip() in existing:
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
        if helper.name not in taken
        and (helper.name in _IMPLICIT or re.search(rf"\b{re.escape(helper.name)}\b", code))
    )


def uses_subject(test: Snippet, subject: Subject, qualifier: str) -> bool:
    """Whether a test calls the subject, or passes it as an argument."""
    name = re.escape(subject.symbol.name)
    if subject.symbol.kind == "function" and subject.class_name:
        name = rf"(?:[.:]{name}|{re.escape(subject.class_name)})"
        return re.search(rf"{name}\s*[(.<!]", test.text) is not None
    after = "(.<!,){" if subject.symbol.kind == "class" else "(.<!,)"
    before = rf"(?<![\w.\"'`])(?:{re.escape(qualifier)})?"
    return re.search(rf"{before}{name}\s*[{after}]", test.text) is not None


def _adds_errors(edits: list[FileEdit], existing: str, language: str) -> bool:
    """Whether the test file has more syntax errors after the edits."""
    text = existing
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    before, after = with_line_feeds(existing), with_line_feeds(text)
    return (count_errors(after, language) or 0) > (count_errors(before, language) or 0)
