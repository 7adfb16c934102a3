"""Each step gives every running sequence its share, and takes no noticeable time."""

import pytest

from engine.api import Priority
from engine.network.step_costs import StepCosts
from engine.scheduling.policy import ChatTurns, PrefillChunk, RunningSequence, select_next_step
from tests.engine.costs import FixedCosts


def sequence(
    number: int, num_left: int = 1, priority: Priority = Priority.COMPLETION
) -> RunningSequence:
    return RunningSequence(priority, number, waited_s=0.0, num_left=num_left)


@pytest.mark.parametrize(("max_tokens", "chunk_tokens"), [(100, 93), (20, 16)])
def test_a_prefill_chunk_leaves_space_for_the_sequences_that_decode(
    max_tokens: int, chunk_tokens: int
) -> None:
    running = [sequence(0), sequence(1, 6), sequence(2, 400)]
    plan = select_next_step(running, max_tokens, StepCosts(), is_chat_turn=False)
    assert plan.decode_batch == (1, 0)
    assert plan.prefill_chunk == PrefillChunk(2, chunk_tokens)


@pytest.mark.parametrize(
    ("two_rows_ms", "turns"),
    [(10.5, [True] * 8), (20.0, [False, False, False, True] * 2)],
)
def test_chats_take_part_in_every_step_only_if_they_cost_little_time(
    two_rows_ms: float, turns: list[bool]
) -> None:
    running = [sequence(0), sequence(1, priority=Priority.CHAT)]
    costs, chat_turns = FixedCosts({1: 10.0, 2: two_rows_ms}), ChatTurns()
    assert [chat_turns.is_turn(running, costs) for _ in turns] == turns
