"""Dialogues mined from source code: requests whose answers the authors have written.

A function with a docstring answers up to four requests:

- document it,
- explain it in one line,
- write it from its description,
- write a test for it, if the project tests it.

No chats of people are used.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from training.collect import CorpusDocument
from training.formats import SpecialToken
from training.functions import DocumentedFunction, documented_functions, parse_test_functions

_NUM_WORDINGS = 3
"""Number of dialogues for each test, each with another wording."""

_REQUESTS = {
    "document": (
        "Write a docstring for this function.",
        "Document this function.",
        "Add a docstring.",
        "Write the docstring of `{name}`.",
    ),
    "explain": (
        "What does this function do?",
        "Explain this in one line.",
        "Explain `{name}` in one sentence.",
        "What does `{name}` do?",
    ),
    "write": (
        "Write a Python function `{name}`. {summary}",
        "{summary} Call it `{name}`.",
        "Implement `{signature}`: {summary}",
        "Write `{signature}`. {summary}",
    ),
    "test": (
        "Write a test for this function.",
        "Write tests for `{name}`.",
        "Write a pytest test for this function.",
        "Test this function.",
        "Write tests for `{name}` with pytest.",
    ),
}


@dataclass(frozen=True, slots=True)
class MinedDialogue:
    """A dialogue of one request and its answer."""

    task: str
    """Kind of request: `document`, `explain`, `write` or `test`."""
    request: str
    """Message of the user."""
    answer: str
    """Message of the assistant."""


def dialogue_about(function: DocumentedFunction, rng: random.Random) -> MinedDialogue:
    """Return a dialogue with a random request that a documented function answers."""
    task = rng.choice(("document", "explain", "write"))
    request = rng.choice(_REQUESTS[task]).format(
        name=function.name, signature=function.signature, summary=function.summary
    )
    if task == "write":
        return MinedDialogue(task, request, code_block(function.source))
    answer = function.summary if task == "explain" else f'"""{function.docstring}"""'
    code = code_block(function.undocumented_source)
    return MinedDialogue(task, f"{request}\n{code}", answer)


def dialogues_from_tests(
    sources: Iterable[CorpusDocument], tests: Iterable[CorpusDocument], rng: random.Random
) -> Iterator[MinedDialogue]:
    """Yield dialogues for each test of a project that is named after the function it tests."""
    by_name: dict[str, list[DocumentedFunction]] = {}
    for document in sources:
        for function in documented_functions(document.text):
            by_name.setdefault(function.name, []).append(function)
    for document in tests:
        for name, source in parse_test_functions(document.text):
            functions = by_name.get(name, [])
            if len(functions) == 1 and f"{name}(" in source.split("\n", 1)[-1]:
                yield from dialogues_for_test(functions[0], source, rng)


def dialogues_for_test(
    function: DocumentedFunction, test: str, rng: random.Random
) -> list[MinedDialogue]:
    """Return several dialogues about one test, each with another wording, because tests are few."""
    wordings = rng.sample(_REQUESTS["test"], _NUM_WORDINGS)
    code, answer = code_block(function.undocumented_source), code_block(test)
    return [
        MinedDialogue("test", f"{wording.format(name=function.name)}\n{code}", answer)
        for wording in wordings
    ]


def code_block(code: str) -> str:
    """Return Python code as a fenced Markdown block."""
    return f"```python\n{code.rstrip()}\n```"


def chatml_segments(dialogue: MinedDialogue, system: str = "") -> list[SpecialToken | str]:
    """Return a dialogue in StarChat's training format (bigcode-project/starcoder, chat)."""
    segments: list[SpecialToken | str] = []
    messages = (("system", system), ("user", dialogue.request), ("assistant", dialogue.answer))
    for role, text in messages:
        segments += [SpecialToken(f"<|{role}|>"), f"\n{text}", SpecialToken("<|end|>"), "\n"]
    return segments
