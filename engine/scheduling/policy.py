"""Selects which sequences take part in the next step.

- Completions come before chats, and recent completions before older ones.
- While completions decode, decoding chats take part in every fourth step at least.
- Prefetches are computed only when nothing else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Priority
from engine.network.batch import DECODE_ROWS
from engine.network.step_costs import StepCosts

_STEP_MS_ALONE, _STEP_MS_SHARED = 250.0, 25.0
"""Time budget of one prefill chunk, in milliseconds.

It bounds the latency of cancellations and new jobs. With other sequences running it also bounds
their time per token. Prefetches always get the shared budget.
"""

_MIN_SHARED_STEPS = 2.0
"""Minimum of the shared budget in decoding steps of one row. With smaller chunks a prefill would
read the weights too often."""

_MIN_PREFILL_CHUNK, _MAX_PREFILL_CHUNK = 16, 512
"""Bounds of the number of tokens of a prefill chunk."""

_CHATS_EVERY = 4
"""Chats take part in every step whose number is a multiple of this, whatever it costs."""

_CHEAP = 1.1
"""Maximum factor by which chats may lengthen a step without having to wait for their turn."""

MAX_WAIT_S = 0.5
"""Seconds after which a completion comes before newer ones."""


@dataclass(frozen=True, slots=True)
class RunningSequence:
    """The facts about a running sequence that scheduling depends on."""

    priority: Priority
    number: int
    """Position in the order of arrival."""
    waited_s: float
    """Seconds since its arrival."""
    num_left: int
    """Number of tokens that its current step still has to compute."""

    @property
    def is_decoding(self) -> bool:
        """Whether the rest of its current step fits into a decoding step."""
        return self.num_left <= DECODE_ROWS


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """A part of a prefill."""

    index: int
    """Index of the sequence."""
    num_tokens: int
    """Number of tokens to compute."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The work of the next step."""

    decode_batch: tuple[int, ...]
    """Indexes of the sequences whose current step is completed, in one forward pass."""
    prefill_chunk: PrefillChunk | None
    """A chunk of one prefill that is computed after the batch, if there is one."""


def select_next_step(
    running: Sequence[RunningSequence], max_tokens: int, *, is_chat_turn: bool
) -> StepPlan:
    """Return the plan of the next step for the running sequences, of which there is at least one.

    `max_tokens` is the number of tokens that a step may have without a noticeable delay. With
    `is_chat_turn` chats take part although completions are running.
    """
    highest = min(sequence.priority for sequence in running)
    with_chats = highest == Priority.COMPLETION and is_chat_turn
    lowest = Priority.CHAT if with_chats else highest
    selected = [index for index, sequence in enumerate(running) if sequence.priority <= lowest]
    order = sorted(selected, key=lambda index: _rank(running[index]))
    decode_batch = tuple(index for index in order if running[index].is_decoding)
    tokens_left = max_tokens - sum(running[index].num_left for index in decode_batch)
    prefill = next((index for index in order if not running[index].is_decoding), None)
    if prefill is None:
        return StepPlan(decode_batch, None)
    num_tokens = min(running[prefill].num_left, max(_MIN_PREFILL_CHUNK, tokens_left))
    return StepPlan(decode_batch, PrefillChunk(prefill, num_tokens))


def _rank(sequence: RunningSequence) -> tuple[int, int]:
    """Return the sort key of a sequence: the smallest comes first."""
    if sequence.priority != Priority.COMPLETION:
        return 1 + sequence.priority, sequence.number
    # A user who types on needs only the newest completion. But several users may share the engine.
    return (0, sequence.number) if sequence.waited_s > MAX_WAIT_S else (1, -sequence.number)


def max_step_tokens(running: Sequence[RunningSequence], costs: StepCosts) -> int:
    """Return the number of tokens that a step may have without a noticeable delay."""
    if all(sequence.is_decoding for sequence in running):
        return DECODE_ROWS
    budget_ms = _STEP_MS_ALONE
    if len(running) > 1 or running[0].priority is Priority.PREFETCH:
        budget_ms = max(_STEP_MS_SHARED, _MIN_SHARED_STEPS * costs.milliseconds(1))
    return costs.max_rows_within(budget_ms, _MIN_PREFILL_CHUNK, _MAX_PREFILL_CHUNK)


class ChatTurns:
    """Decides when chats take part in a step although completions are running."""

    def __init__(self) -> None:
        self._num_steps = 0

    def is_turn(self, running: Sequence[RunningSequence], costs: StepCosts) -> bool:
        """Return whether chats take part in the next step. Call this once per step."""
        completion_rows = _decode_rows(running, Priority.COMPLETION)
        chat_rows = _decode_rows(running, Priority.CHAT)
        if chat_rows and completion_rows:
            with_chats_ms = costs.milliseconds(completion_rows + chat_rows)
            if with_chats_ms <= _CHEAP * costs.milliseconds(completion_rows):
                return True
        self._num_steps = (self._num_steps + 1) % _CHATS_EVERY
        return self._num_steps == 0


def _decode_rows(running: Sequence[RunningSequence], priority: Priority) -> int:
    return sum(
        sequence.num_left
        for sequence in running
        if sequence.is_decoding and sequence.priority is priority
    )
