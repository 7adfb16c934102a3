"""Dialogues from files: messages, prompts with completions, or trees as OpenAssistant has them.

| a line of JSON with | is |
|---|---|
| `messages` | one dialogue: a list of `role` and `content` |
| `prompt`, `completion` | one dialogue of two turns |
| `prompt` with `replies` | a tree: each way from the root to a leaf is a dialogue |
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from chat.formats import ROLES
from engine.api import Message
from engine.errors import ConfigurationError

Dialogue = tuple[Message, ...]

HELD_OUT_SHARE = 0.1
MIN_DIALOGUES = 4

_OASST_ROLES = {"prompter": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class DialogueSplit:
    """Dialogues to learn from, and others to measure with."""

    training: list[Dialogue]
    held_out: list[Dialogue]


def read_dialogues(file: Path) -> list[Dialogue]:
    """Return the dialogues of a JSONL file; each has at least one turn of the assistant's.

    Raises ConfigurationError naming file and line for what cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    found: list[Dialogue] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found += _dialogues(json.loads(line))
            except ValueError as error:
                raise ConfigurationError(f"{file}, line {number}: {error}") from None
    return found


def _dialogues(row: Any) -> Iterator[Dialogue]:
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object.")
    if "messages" in row:
        yield _checked([_message(one) for one in _list(row["messages"])])
    elif isinstance(row.get("prompt"), dict):
        yield from _ways(row["prompt"], ())
    elif isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        pair = [Message("user", row["prompt"]), Message("assistant", row["completion"])]
        yield _checked(pair)
    else:
        raise ValueError("it has neither `messages`, nor `prompt` and `completion`, nor a tree.")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("`messages` is no list.")
    return value


def _message(row: Any) -> Message:
    if not isinstance(row, dict) or not isinstance(row.get("content"), str):
        raise ValueError("a message has no text as its `content`.")
    if row.get("role") not in ROLES:
        raise ValueError(f"a message has the role {row.get('role')!r}, none of {', '.join(ROLES)}.")
    return Message(row["role"], row["content"])


def _checked(messages: Sequence[Message]) -> Dialogue:
    turns = [one for one in messages if one.role != "system"]
    if not turns or turns[0].role != "user":
        raise ValueError("the first turn is not the user's.")
    if any(one.role == two.role for one, two in pairwise(turns)):
        raise ValueError("two turns of the same role follow each other.")
    if not any(one.role == "assistant" and one.content.strip() for one in turns):
        raise ValueError("the assistant says nothing.")
    return tuple(messages)


def _ways(node: Any, before: Dialogue) -> Iterator[Dialogue]:
    if not isinstance(node, dict) or not isinstance(node.get("text"), str):
        raise ValueError("a message of the tree has no `text`.")
    role = _OASST_ROLES.get(str(node.get("role")))
    if role is None:
        raise ValueError(f"a message of the tree has the role {node.get('role')!r}.")
    way = (*before, Message(role, node["text"]))
    replies = node.get("replies") or []
    for reply in replies:
        yield from _ways(reply, way)
    if not replies:
        # What ends with a question ends before it.
        ended = way if role == "assistant" else way[:-1]
        if any(one.role == "assistant" for one in ended):
            yield _checked(ended)


def split_dialogues(dialogues: Sequence[Dialogue], seed: int) -> DialogueSplit:
    """Set dialogues aside at random, all of a question's together; raises ConfigurationError."""
    if len(dialogues) < MIN_DIALOGUES:
        raise ConfigurationError(
            f"There are {len(dialogues)} dialogues; at least {MIN_DIALOGUES} are needed, to learn "
            "from some and measure with others."
        )
    by_question: dict[str, list[Dialogue]] = {}
    for one in dialogues:
        question = next(message.content for message in one if message.role == "user")
        by_question.setdefault(question, []).append(one)
    questions = list(by_question)
    random.Random(seed).shuffle(questions)
    count = max(1, round(HELD_OUT_SHARE * len(questions)))
    aside = [one for question in questions[:count] for one in by_question[question]]
    rest = [one for question in questions[count:] for one in by_question[question]]
    if not rest:
        raise ConfigurationError("All dialogues begin with one question: nothing can be held out.")
    random.Random(seed).shuffle(rest)
    return DialogueSplit(rest, aside)
