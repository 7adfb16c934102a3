"""Selects which sequences take part in the next step.

- Completions come before chats, and recent completions before older ones.
- No sequence waits forever.
- Prefetches are computed only when nothing else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Priority
from engine.network.batch import DECODE_ROWS

MIN_PREFILL_CHUNK = 16
"""Minimum number of tokens of a prefill chunk."""

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
    """What the next step computes."""

    decode_batch: tuple[int, ...]
    """Indexes of the sequences whose current step is completed, in one forward pass."""
    prefill_chunk: PrefillChunk | None
    """A chunk of one prefill that is computed after the batch, if there is one."""


def select_next_step(
    running: Sequence[RunningSequence], max_tokens: int, *, is_chat_turn: bool
) -> StepPlan:
    """Return what the next step computes for the running sequences, at least one.

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
    num_tokens = min(running[prefill].num_left, max(MIN_PREFILL_CHUNK, tokens_left))
    return StepPlan(decode_batch, PrefillChunk(prefill, num_tokens))


def _rank(sequence: RunningSequence) -> tuple[int, int]:
    """Return the sort key of a sequence: the smallest comes first."""
    if sequence.priority != Priority.COMPLETION:
        return 1 + sequence.priority, sequence.number
    # A user who types on needs only the newest completion. But several users may share the engine.
    return (0, sequence.number) if sequence.waited_s > MAX_WAIT_S else (1, -sequence.number)
