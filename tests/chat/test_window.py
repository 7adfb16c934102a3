"""A long conversation keeps its system message and its newest turns."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.window import STEP, fit_messages
from engine.api import Message
from engine.errors import PromptTooLongError


def tokens(messages: Sequence[Message]) -> int:
    return sum(len(one.content) + 1 for one in messages)


def talk(sizes: Sequence[int], system: str = "") -> list[Message]:
    roles = ("user", "assistant")
    made = [Message(roles[at % 2], "x" * size) for at, size in enumerate(sizes)]
    return [Message("system", system), *made] if system else made


def test_what_fits_stays_whole() -> None:
    said = talk([1, 1, 1], "s")
    assert fit_messages(said, 8, tokens).messages == tuple(said)


def test_the_oldest_turns_go_and_the_system_message_stays() -> None:
    said = talk([10] * 9, "rules")
    fitted = fit_messages(said, 70, tokens)
    assert fitted.messages == (said[0], *said[1 + STEP :])
    assert fitted.num_left_out == STEP


def test_a_last_message_that_is_too_long_is_told() -> None:
    with pytest.raises(PromptTooLongError, match="room for 50"):
        fit_messages(talk([1, 1, 100]), 50, tokens)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12),
    last=st.integers(0, 30),
    budget=st.integers(32, 300),
    system=st.sampled_from(["", "s"]),
)
def test_what_is_left_fits_and_begins_with_the_user(
    pairs: list[tuple[int, int]], last: int, budget: int, system: str
) -> None:
    said = talk([size for pair in pairs for size in pair] + [last], system)
    fitted = fit_messages(said, budget + len(system) + 1, tokens)
    turns = [one for one in fitted.messages if one.role != "system"]
    assert tokens(fitted.messages) <= budget + len(system) + 1
    assert turns[0].role == "user"
    assert tuple(said[-len(turns) :]) == tuple(turns)
    assert fitted.num_left_out == len(said) - bool(system) - len(turns)
