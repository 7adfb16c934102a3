"""A long conversation keeps its system message and its newest messages."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.window import STEP, fit_messages
from engine.api import Message
from engine.errors import PromptTooLongError


def count_tokens(messages: Sequence[Message]) -> int:
    return sum(len(message.content) + 1 for message in messages)


def dialogue(sizes: Sequence[int], system: str = "") -> list[Message]:
    roles = ("user", "assistant")
    messages = [Message(roles[index % 2], "x" * size) for index, size in enumerate(sizes)]
    return [Message("system", system), *messages] if system else messages


def test_a_dialogue_that_fits_is_unchanged() -> None:
    messages = dialogue([1, 1, 1], "s")
    assert fit_messages(messages, 8, count_tokens).messages == tuple(messages)


def test_the_oldest_messages_are_left_out_but_not_the_system_message() -> None:
    messages = dialogue([10] * 9, "rules")
    fitted = fit_messages(messages, 70, count_tokens)
    assert fitted.messages == (messages[0], *messages[1 + STEP :])
    assert fitted.num_left_out == STEP


def test_a_last_message_that_is_too_long_is_an_error() -> None:
    with pytest.raises(PromptTooLongError, match="room for 50"):
        fit_messages(dialogue([1, 1, 100]), 50, count_tokens)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12),
    last=st.integers(0, 30),
    budget=st.integers(32, 300),
    system=st.sampled_from(["", "s"]),
)
def test_the_fitted_messages_are_the_newest_and_begin_with_the_user(
    pairs: list[tuple[int, int]], last: int, budget: int, system: str
) -> None:
    messages = dialogue([size for pair in pairs for size in pair] + [last], system)
    fitted = fit_messages(messages, budget + len(system) + 1, count_tokens)
    kept = [message for message in fitted.messages if message.role != "system"]
    assert count_tokens(fitted.messages) <= budget + len(system) + 1
    assert kept[0].role == "user"
    assert tuple(messages[-len(kept) :]) == tuple(kept)
    assert fitted.num_left_out == len(messages) - bool(system) - len(kept)
