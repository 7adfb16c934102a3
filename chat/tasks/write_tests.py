"""The task that writes tests for the function or class at the cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chat.asker import GREEDY, Asker, FinishedAnswer, OnStage
from chat.attachments import fenced
from chat.tasks.checking.checking import Checks, CheckSettings, open_checks
from chat.tasks.checking.choosing import MAX_TESTS
from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import (
    Destination,
    Dialect,
    GeneratedTests,
    Subject,
    with_line_feeds,
)
from chat.tasks.dialects.registry import find_convention
from chat.tasks.instructions import wanted_tests
from chat.tasks.selection import select_tests
from chat.tasks.target import FileEdit, Proposal, Target, WorkspaceFiles
from engine.api import Message, Sampling
from engine.errors import PromptTooLongError, RequestError
from syntax.symbols import Symbol

_MAX_EXAMPLE_CHARACTERS = 3000
_MAX_CONTEXT_CHARACTERS = 1500
_BYTE_ORDER_MARK = "\ufeff"
_FENCE_END = "\n```"
_RANDOM = tuple(Sampling(temperature=0.6, top_p=0.95, seed=seed) for seed in range(1, 4))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to ask the model for tests."""

    begin: str
    """The code that the answer begins with."""
    prompts: tuple[str, ...]
    """The same request with less and less context. The first one that fits the window is sent."""
    sampling: Sampling


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
    subject, convention, file = await asyncio.to_thread(_read_project, target, files)
    dialect = convention.dialect
    count = wanted_tests(target.instruction) or MAX_TESTS
    async with open_checks(check, subject, convention, files, on_stage, count) as checks:
        deadline = time.monotonic() + (check.seconds if check else 0.0)
        for attempt in _attempts(subject, convention, dialect, target.instruction):
            on_stage("writing tests")
            answer = await _ask(asker, attempt, dialect.fence)
            tests = await asyncio.to_thread(
                select_tests, attempt.begin, answer, subject, dialect, file, checks.names
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
            edits = await asyncio.to_thread(dialect.place, checked.tests, subject, file)
            note = checked.summary.sentence
            proposal = _proposal(checked.tests, subject, convention, edits, note)
            return replace(proposal, checked=checked.summary)
    raise RequestError(_no_test(subject, checks))


def _no_test(subject: Subject, checks: Checks) -> str:
    """Return why no test is proposed, and what to do."""
    name = subject.symbol.name
    if checks.num_failed:
        reason = f"None of the {checks.num_failed} tests of {name} that the model wrote passes"
        reason += f": {checks.last_problem}" if checks.last_problem else ""
    else:
        reason = f"The model wrote no test of {name} that can be used"
    return f"{reason}. Try a larger model, or an instruction that says what to test."


def _read_project(target: Target, files: WorkspaceFiles) -> tuple[Subject, Convention, Destination]:
    path = target.file()
    target = _with_line_feeds(target)
    symbol = target.symbol()
    if symbol.in_function:
        raise RequestError(
            f"{symbol.name} is inside another function, so a test cannot call it. Put the cursor "
            "into the outer function."
        )
    subject = Subject(symbol, path, target.text, target.language)
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


def _attempts(
    subject: Subject, convention: Convention, dialect: Dialect, instruction: str
) -> list[Attempt]:
    """Return the attempts in order. The next one is made if the previous gave no usable test.

    Greedy sampling comes before random sampling. The last three attempts are for models that do not
    write a test by themselves: they force the first call of the subject, and they use only the last
    prompt, whose words the demo model knows.
    """
    prompts = _prompts(subject, convention, dialect, instruction)
    last_prompt = prompts[-1:]
    opening = dialect.file_head(subject) + dialect.test_opening(subject)
    forced_first_call = dialect.test_opening(subject) + dialect.first_call(subject)
    return [
        Attempt(opening, prompts, GREEDY),
        Attempt(opening, prompts, _RANDOM[0]),
        Attempt(forced_first_call, last_prompt, GREEDY),
        Attempt(forced_first_call, last_prompt, _RANDOM[1]),
        Attempt(forced_first_call, last_prompt, _RANDOM[2]),
    ]


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


def _prompts(
    subject: Subject, convention: Convention, dialect: Dialect, instruction: str
) -> tuple[str, ...]:
    """Return prompts for the same tests, the one with the most context first.

    The last one has the words of the training dialogues (`training.dialogues`), which the demo
    model knows.
    """
    symbol = subject.symbol
    instruction = f" {instruction}" if instruction else ""
    task = f"Write tests for `{symbol.name}` with {dialect.framework}.{instruction}"
    code = fenced(symbol.dedented, dialect.fence)
    context = context_of(subject.text, symbol)
    code_in_context = f"{context}\n\n{symbol.dedented}" if context else symbol.dedented
    prompts = [
        f"{task}\n{fenced(code_in_context, dialect.fence)}",
        f"Write tests for `{symbol.name}`.{instruction}\n{code}",
    ]
    if example := convention.example[:_MAX_EXAMPLE_CHARACTERS]:
        whole_lines = fenced(example.rsplit("\n", 1)[0], dialect.fence)
        prompts.insert(0, f"These are tests of the same project:\n{whole_lines}\n\n{prompts[0]}")
    return tuple(prompts)


def context_of(text: str, symbol: Symbol) -> str:
    """Return the context of a symbol in its file: the imports and the line of its class."""
    lines = text.split("\n")
    import_starts = ("import ", "from ", "use ", "package ", "#include", "using ", "const ")
    context = [line for line in lines if line.startswith(import_starts)]
    if symbol.parents:
        name = symbol.parents[-1]
        class_line = next((line for line in lines if f"class {name}" in line), None)
        if class_line is not None:
            context += ["", class_line]
    return "\n".join(context)[:_MAX_CONTEXT_CHARACTERS].strip()


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
