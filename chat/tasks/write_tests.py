"""The task that writes tests for the function or class at the cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from chat.asker import Asker, FinishedAnswer, OnStage
from chat.tasks.attempts import Attempt, batches_of
from chat.tasks.checking.checking import Checks, CheckSettings, open_checks
from chat.tasks.checking.choosing import MAX_TESTS
from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import (
    Destination,
    Dialect,
    GeneratedTests,
    Subject,
    free_name,
    with_line_feeds,
)
from chat.tasks.dialects.registry import find_convention
from chat.tasks.instructions import Requested, read_instruction
from chat.tasks.selection import select_all
from chat.tasks.target import FileEdit, Proposal, Target, WorkspaceFiles
from engine.api import Message
from engine.errors import PromptTooLongError, RequestError

_BYTE_ORDER_MARK = "\ufeff"
_FENCE_END = "\n```"


async def write_tests(
    target: Target,
    asker: Asker,
    files: WorkspaceFiles,
    *,
    check: CheckSettings | None = None,
    on_stage: OnStage = lambda stage: None,
) -> Proposal:
    """Propose tests in the framework, folder and style of the project; no code is overwritten.

    Only tests that parse and that call the function are proposed. With `check` they are run first,
    and only tests that pass are proposed; if they cannot be run, the note of the proposal says why.
    No more tests are proposed than the instruction asks for.
    `on_stage` receives what is being done.

    Raises RequestError if there is nothing to test, if the language is not supported, or if the
    model wrote no usable test.
    """
    requested = read_instruction(target.instruction)
    subject, convention, file = await asyncio.to_thread(_read_project, target, files, requested)
    dialect, count = convention.dialect, requested.num_tests or MAX_TESTS
    names = tuple(map(dialect.test_name, requested.names))
    async with open_checks(check, subject, convention, files, on_stage, count, names) as checks:
        deadline = time.monotonic() + (check.seconds if check else 0.0)
        for batch in batches_of(subject, convention, target.instruction, names):
            on_stage("writing tests")
            answers = await _ask_all(asker, batch, dialect.fence)
            with_beginnings = [
                (each.begin, answer) for each, answer in zip(batch, answers, strict=True)
            ]
            tests = await asyncio.to_thread(
                select_all, with_beginnings, subject, dialect, file, checks.names
            )
            if not tests.tests:
                continue
            await checks.add(tests)
            await checks.add_probes()
            if not checks.is_possible:
                tests = replace(tests, tests=tests.tests[:count])
                edits = await asyncio.to_thread(dialect.place, tests, subject, file)
                return _proposal(tests, subject, convention, edits, checks.problem)
            if checks.is_enough or time.monotonic() > deadline:
                break
        if not checks.names:
            await checks.add_probes(without_tests=True)
        if (checked := await checks.result()) is not None:
            tests = _named(checked.tests, names, dialect, file)
            edits = await asyncio.to_thread(dialect.place, tests, subject, file)
            proposal = _proposal(tests, subject, convention, edits, checked.summary.sentence)
            return replace(proposal, checked=checked.summary)
    raise RequestError(_no_test(subject, checks))


def _named(
    tests: GeneratedTests, names: Sequence[str], dialect: Dialect, file: Destination
) -> GeneratedTests:
    """Return tests under the name that an instruction gives to one test, if there is only one."""
    if len(tests.tests) != 1 or len(names) != 1 or tests.tests[0].name == names[0]:
        return tests
    name = free_name(names[0], dialect.declared_names(file.text))
    return replace(tests, tests=(dialect.rename(tests.tests[0], name),))


def _no_test(subject: Subject, checks: Checks) -> str:
    """Return why no test is proposed, and what to do."""
    name = subject.symbol.name
    if checks.num_unstable:
        return (
            f"The tests of {name} pass only now, or only on this machine: its result depends on "
            "the date, the time zone, a random number or the system. Pass such a value to it as an "
            "argument."
        )
    if checks.num_failed:
        reason = f"None of the {checks.num_failed} tests of {name} that the model wrote passes"
        reason += f": {checks.last_problem}" if checks.last_problem else ""
    else:
        reason = f"The model wrote no test of {name} that can be used"
    return f"{reason}. Try a larger model, or an instruction that says what to test."


def _read_project(
    target: Target, files: WorkspaceFiles, requested: Requested
) -> tuple[Subject, Convention, Destination]:
    path = target.file()
    target = _with_line_feeds(target)
    symbol = target.symbol()
    if symbol.in_function:
        raise RequestError(
            f"{symbol.name} is inside another function, so a test cannot call it. Put the cursor "
            "into the outer function."
        )
    subject = Subject(symbol, path, target.text, target.language, requested.framework)
    convention = find_convention(subject, files)
    existing = files.read_to_edit(convention.test_file)
    return subject, convention, Destination(convention.test_file, existing)


def _with_line_feeds(target: Target) -> Target:
    """Return a target whose text has line feeds as line endings and no byte order mark."""
    offsets = (target.start, target.end)
    start, end = (
        len(with_line_feeds(target.text[:offset].removeprefix(_BYTE_ORDER_MARK)))
        for offset in offsets
    )
    text = with_line_feeds(target.text.removeprefix(_BYTE_ORDER_MARK))
    return replace(target, text=text, start=start, end=end)


async def _ask_all(asker: Asker, batch: Sequence[Attempt], fence: str) -> list[FinishedAnswer]:
    """Ask for several answers at the same time. The user sees the first one grow."""
    quiet = asker.without_partial_answers()
    askers = [asker, *[quiet] * (len(batch) - 1)]
    asked = [
        asyncio.create_task(_ask(each, attempt, fence))
        for each, attempt in zip(askers, batch, strict=True)
    ]
    try:
        return await asyncio.gather(*asked)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _ask(asker: Asker, attempt: Attempt, fence: str) -> FinishedAnswer:
    """Ask with the first prompt that fits the model's window."""
    begin = f"```{fence}\n{attempt.begin}"
    for index, prompt in enumerate(attempt.prompts):
        messages = [Message("user", prompt)]
        try:
            return await asker.ask(messages, begin, attempt.sampling, (_FENCE_END,))
        except PromptTooLongError:
            if index == len(attempt.prompts) - 1:
                raise
    raise AssertionError("an attempt has at least one prompt")


def _proposal(
    tests: GeneratedTests,
    subject: Subject,
    convention: Convention,
    edits: Sequence[FileEdit],
    note: str,
) -> Proposal:
    count = len(tests.tests)
    tests_in_words = "a test" if count == 1 else f"{count} tests"
    action = "Create a file with" if any(edit.creates for edit in edits) else "Add"
    file = f"{convention.test_file.name} ({convention.framework})"
    title = f"{action} {tests_in_words} of {subject.symbol.name}: {file}"
    return Proposal(title, tuple(edits), " ".join(filter(None, [note, convention.note])))
