"""Read dialogues from JSON lines in three formats.

| line with | content |
|---|---|
| `messages` | one dialogue: a list of `role` and `content` |
| `prompt`, `completion` | one dialogue of two messages |
| `prompt` with `replies` | OpenAssistant's tree: each path from the root to a leaf is a dialogue |
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from chat.formats import ROLES
from engine.api import Message
from engine.errors import ConfigurationError, reason_of

Dialogue = tuple[Message, ...]
"""The messages of one conversation, from first to last."""

HELD_OUT_SHARE = 0.1
"""Share of the questions whose dialogues are held out."""
MIN_DIALOGUES = 4
"""Minimum dialogues: fewer cannot be split into training and held-out dialogues."""

_OPEN_ASSISTANT_ROLES = {"prompter": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class DialogueSplit:
    """Dialogues for training, and others for measuring."""

    training: list[Dialogue]
    held_out: list[Dialogue]


def read_dialogues(file: Path) -> list[Dialogue]:
    """Return the dialogues of a file of JSON lines; each has a message of the assistant.

    Raises ConfigurationError, with file and line number, for content that cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {reason_of(error)}.") from None
    dialogues: list[Dialogue] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                dialogues += _parse(json.loads(line))
            except json.JSONDecodeError:
                raise ConfigurationError(f"{file}, line {number}: it is not valid JSON.") from None
            except ValueError as error:
                raise ConfigurationError(f"{file}, line {number}: {error}") from None
    return dialogues


def _parse(row: object) -> Iterator[Dialogue]:
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object.")
    if "messages" in row:
        if not isinstance(row["messages"], list):
            raise ValueError("`messages` is not a list.")
        yield _check([_message(message) for message in row["messages"]])
    elif isinstance(row.get("prompt"), dict):
        yield from _paths(row["prompt"], ())
    elif isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        pair = [Message("user", row["prompt"]), Message("assistant", row["completion"])]
        yield _check(pair)
    else:
        raise ValueError("it has neither `messages`, nor `prompt` and `completion`, nor a tree.")


def _message(row: object) -> Message:
    if not isinstance(row, dict) or not isinstance(row.get("content"), str):
        raise ValueError("a message has no text as its `content`.")
    if row.get("role") not in ROLES:
        raise ValueError(
            f"a message has the role {row.get('role')!r}; use one of {', '.join(ROLES)}."
        )
    return Message(row["role"], row["content"])


def _check(messages: Sequence[Message]) -> Dialogue:
    """Return the messages as a dialogue. Raises ValueError if they are not one."""
    turns = [message for message in messages if message.role != "system"]
    if not turns or turns[0].role != "user":
        raise ValueError("the first message is not the user's.")
    if any(first.role == second.role for first, second in pairwise(turns)):
        raise ValueError("two consecutive messages have the same role.")
    if not any(turn.role == "assistant" and turn.content.strip() for turn in turns):
        raise ValueError("the assistant says nothing.")
    return tuple(messages)


def _paths(node: object, earlier: Dialogue) -> Iterator[Dialogue]:
    """Yield a dialogue for each path from a node of OpenAssistant's tree to a leaf."""
    if not isinstance(node, dict) or not isinstance(node.get("text"), str):
        raise ValueError("a message of the tree has no `text`.")
    role = _OPEN_ASSISTANT_ROLES.get(str(node.get("role")))
    if role is None:
        raise ValueError(f"a message of the tree has the role {node.get('role')!r}.")
    path = (*earlier, Message(role, node["text"]))
    replies = node.get("replies") or []
    for reply in replies:
        yield from _paths(reply, path)
    if not replies:
        # A question without an answer is dropped.
        dialogue = path if role == "assistant" else path[:-1]
        if any(message.role == "assistant" for message in dialogue):
            yield _check(dialogue)


def split_dialogues(dialogues: Sequence[Dialogue], seed: int) -> DialogueSplit:
    """Hold out the dialogues of random questions, so that no question is in both parts.

    Raises ConfigurationError if there are too few dialogues or questions.
    """
    if len(dialogues) < MIN_DIALOGUES:
        raise ConfigurationError(
            f"There are {len(dialogues)} dialogues. At least {MIN_DIALOGUES} are needed, to train "
            "on some and measure on others."
        )
    by_question: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        question = next(message.content for message in dialogue if message.role == "user")
        by_question.setdefault(question, []).append(dialogue)
    questions = list(by_question)
    random.Random(seed).shuffle(questions)
    count = max(1, round(HELD_OUT_SHARE * len(questions)))
    held_out = [dialogue for question in questions[:count] for dialogue in by_question[question]]
    training = [dialogue for question in questions[count:] for dialogue in by_question[question]]
    if not training:
        raise ConfigurationError(
            "All dialogues start with the same question, so none can be held out. Add dialogues "
            "with other questions."
        )
    random.Random(seed).shuffle(training)
    return DialogueSplit(training, held_out)
