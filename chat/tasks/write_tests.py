"""Write tests for the function or class under the cursor: the first among the tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from chat.asker import GREEDY, Asker, FinishedAnswer
from chat.attachments import code_blocks, fenced
from chat.tasks.conventions import Convention, convention
from chat.tasks.dialects import DIALECTS
from chat.tasks.dialects.base import Dialect, Subject, Units, select
from chat.tasks.target import FileEdit, Proposal, Target, WorkspaceFiles
from engine.api import Message, Sampling
from engine.errors import PromptTooLongError, RequestError
from syntax.grammars import count_errors
from syntax.symbols import Symbol

_EXAMPLE_CHARACTERS = 3000
_HEAD_CHARACTERS = 1500
_FENCE_END = "\n```"

_DRAWN = tuple(Sampling(temperature=0.6, top_p=0.95, seed=seed) for seed in range(1, 4))
ATTEMPTS = (
    (False, GREEDY),
    (False, _DRAWN[0]),
    (True, GREEDY),
    (True, _DRAWN[1]),
    (True, _DRAWN[2]),
)
"""Whether the first call is begun for the model, and how it draws. The likeliest answer comes
first; where it holds no test that can be used, others are asked for."""


async def write_tests(target: Target, asker: Asker, files: WorkspaceFiles) -> Proposal:
    """Propose tests in the framework, place and style of the project; nothing is overwritten.

    Only what parses and tests the function is kept. Raises RequestError where there is nothing to
    test, the language is not known, or the model wrote no test that can be used.
    """
    subject, plan = await asyncio.to_thread(_plan, target, files)
    dialect = DIALECTS[plan.framework]
    existing = await asyncio.to_thread(files.read, subject.file)
    for led, sampling in ATTEMPTS:
        led_to = dialect.opening(subject) + dialect.first_call(subject)
        opening = led_to if led else dialect.head(subject) + dialect.opening(subject)
        requests = _requests(target, subject, plan, dialect)
        answered = await _ask(requests[-1:] if led else requests, asker, sampling, dialect, opening)
        units = await asyncio.to_thread(usable, opening, answered, subject, dialect, existing)
        if units.tests:
            edits = await asyncio.to_thread(dialect.place, units, subject, existing)
            return _proposal(units, subject, plan, edits, existing is not None)
    raise RequestError(
        f"The model wrote no test of {subject.symbol.name} that can be used. A larger model, or an "
        "instruction that says what to test, may help."
    )


def _plan(target: Target, files: WorkspaceFiles) -> tuple[Subject, Convention]:
    symbol = target.symbol()
    plan = convention(target.path, target.language, files)
    if symbol.in_function:
        raise RequestError(
            f"{symbol.name} is inside another function, so a test cannot call it. Put the cursor "
            "into the outer one."
        )
    return Subject(symbol, target.path, target.text, plan.file, target.root), plan


async def _ask(
    requests: Sequence[str], asker: Asker, sampling: Sampling, dialect: Dialect, opening: str
) -> FinishedAnswer:
    """Ask with as much around the function as fits the model's window."""
    begun = f"```{dialect.fence}\n{opening}"
    for at, request in enumerate(requests):
        try:
            return await asker.ask([Message("user", request)], begun, sampling, (_FENCE_END,))
        except PromptTooLongError:
            if at == len(requests) - 1:
                raise
    raise AssertionError("there is always a request")


def _requests(target: Target, subject: Subject, plan: Convention, dialect: Dialect) -> list[str]:
    """Return requests, the fullest first.

    The words of the last are those of the recipe's own dialogues, which the demo model knows.
    """
    symbol = subject.symbol
    instruction = f" {target.instruction}" if target.instruction else ""
    asked = f"Write tests for `{symbol.name}` with {dialect.framework}.{instruction}"
    code = fenced(symbol.dedented, dialect.fence)
    head = head_of(subject.text, symbol)
    within = fenced(f"{head}\n\n{symbol.dedented}", dialect.fence) if head else code
    requests = [f"{asked}\n{within}", f"Write tests for `{symbol.name}`.{instruction}\n{code}"]
    if example := plan.example[:_EXAMPLE_CHARACTERS]:
        shown = fenced(example.rsplit("\n", 1)[0], dialect.fence)
        requests.insert(0, f"These are tests of the same project:\n{shown}\n\n{requests[0]}")
    return requests


def head_of(text: str, symbol: Symbol) -> str:
    """Return what of a file a function is read with: its imports, and the class around it."""
    lines = text.split("\n")
    marks = ("import ", "from ", "use ", "package ", "#include", "using ", "const ")
    imports = [line for line in lines if line.startswith(marks)]
    if symbol.parents:
        name = symbol.parents[-1]
        start = next((at for at, line in enumerate(lines) if f"class {name}" in line), None)
        if start is not None:
            imports += ["", lines[start]]
    return "\n".join(imports)[:_HEAD_CHARACTERS].strip()


def usable(
    opening: str, answered: FinishedAnswer, subject: Subject, dialect: Dialect, existing: str | None
) -> Units:
    """Return what of an answer can be used."""
    code = (code_blocks(f"```\n{opening}{answered.text}") or [""])[0]
    units = dialect.units(code)
    chosen = select(units, subject, dialect, existing, whole=answered.is_complete)
    while chosen.tests:
        edits = dialect.place(chosen, subject, existing)
        if _parses(edits, existing, subject, dialect):
            return chosen
        chosen = replace(chosen, tests=chosen.tests[:-1])
    return chosen


def _parses(
    edits: list[FileEdit], existing: str | None, subject: Subject, dialect: Dialect
) -> bool:
    text = existing or ""
    before = count_errors(text, dialect.language) or 0
    for edit in sorted(edits, key=lambda one: -one.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return (count_errors(text, dialect.language) or 0) <= before


def _proposal(
    units: Units, subject: Subject, plan: Convention, edits: list[FileEdit], exists: bool
) -> Proposal:
    count = len(units.tests)
    tests = "a test" if count == 1 else f"{count} tests"
    doing = "Add" if exists else "Create a file with"
    name = subject.file.name
    title = f"{doing} {tests} of {subject.symbol.name}: {name} ({plan.framework})"
    return Proposal(title, tuple(edits))
