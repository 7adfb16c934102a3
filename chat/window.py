"""A long conversation in a short window: the middle goes, in whole turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.api import Message
from engine.errors import PromptTooLongError

STEP = 4
"""Turns that go at a time. What goes moves all that follows, and the engine must read it anew; so
it goes seldom, and then more than it must."""


@dataclass(frozen=True, slots=True)
class FittedMessages:
    """Messages that fit, and how many did not."""

    messages: tuple[Message, ...]
    num_left_out: int


def fit_messages(
    messages: Sequence[Message], budget: int, tokens: Callable[[Sequence[Message]], int]
) -> FittedMessages:
    """Return the system message and the newest turns, as many as `budget` tokens hold.

    `tokens` counts a rendered dialogue. Raises PromptTooLongError if the last turn alone is too
    long.
    """
    system = [one for one in messages[:1] if one.role == "system"]
    turns = list(messages[len(system) :])
    for gone in (*range(0, len(turns) - 1, STEP), len(turns) - 1):
        kept = turns[gone:]
        while gone and len(kept) > 1 and kept[0].role != "user":
            kept = kept[1:]
        fitted = (*system, *kept)
        size = tokens(fitted)
        if size <= budget:
            return FittedMessages(fitted, len(turns) - len(kept))
    raise PromptTooLongError(
        f"The message and what is attached to it take {size} tokens, and there is room for "
        f"{budget}. Attach less: a selection rather than a file."
    )
