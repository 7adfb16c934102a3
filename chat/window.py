"""Fit a long conversation into the model's window by leaving out whole messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.api import Message
from engine.errors import PromptTooLongError

STEP = 4
"""Number of messages that are left out in one step.

The KV cache is valid only up to the first message that is left out. So messages are left out
rarely, and then several of them.
"""


@dataclass(frozen=True, slots=True)
class FittedMessages:
    """Messages that fit the window."""

    messages: tuple[Message, ...]
    num_left_out: int
    """Number of messages that were left out."""


def fit_messages(
    messages: Sequence[Message], max_tokens: int, count_tokens: Callable[[Sequence[Message]], int]
) -> FittedMessages:
    """Return the system message and as many of the newest messages as fit into `max_tokens`.

    `count_tokens` renders a dialogue and counts its tokens. Raises PromptTooLongError if the last
    message does not fit.
    """
    system = [message for message in messages[:1] if message.role == "system"]
    dialogue = list(messages[len(system) :])
    for num_dropped in (*range(0, len(dialogue) - 1, STEP), len(dialogue) - 1):
        kept = dialogue[num_dropped:]
        while num_dropped and len(kept) > 1 and kept[0].role != "user":
            kept = kept[1:]
        fitted = (*system, *kept)
        num_tokens = count_tokens(fitted)
        if num_tokens <= max_tokens:
            return FittedMessages(fitted, len(dialogue) - len(kept))
    raise PromptTooLongError(
        f"The message and its attachments have {num_tokens} tokens, and there is room for "
        f"{max_tokens}. Attach less: a selection instead of a file."
    )
