"""Conversations as data: turns with their states, and what a list of conversations shows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chat.attachments import Attachment

TurnState = Literal["whole", "stopped", "cut off", "failed"]
"""State of a turn after it ended.

- `whole`: The model ended the answer. Turns of the user have this state, too.
- `stopped`: The user stopped the answer.
- `cut off`: The answer reached the maximum length.
- `failed`: An error ended the answer.
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One stored message of a conversation."""

    id: str
    role: str
    """Author of the message: `system`, `user` or `assistant`."""
    content: str
    attachments: tuple[Attachment, ...] = ()
    state: TurnState = "whole"
    model: str = ""
    """Name of the model that wrote an answer; empty if it is not known."""


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """The title and date of a conversation, without its turns."""

    id: str
    title: str
    changed: float
    """Time of the last change, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with its turns, oldest first."""

    id: str
    workspace: str
    title: str
    turns: tuple[Turn, ...]


def new_turn(
    role: str,
    content: str,
    attachments: Sequence[Attachment] = (),
    state: TurnState = "whole",
    model: str = "",
) -> Turn:
    """Return a turn with a new id."""
    return Turn(uuid.uuid4().hex, role, content, tuple(attachments), state, model)
