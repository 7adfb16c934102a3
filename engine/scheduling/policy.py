"""Selects which sequences take part in the next step.

- Completions come before chats, and recent completions before older ones.
- While completions decode, decoding chats take part in every fourth step at least.
- Prefetches are computed only when nothing else is.
- Of several users, each has at least one decoding sequence in each step; more only where they cost
  the others little. Prompts of a user who has had much more service than another one get a small
  share of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Priority
from engine.network.batch import DECODE_ROWS
from engine.network.step_costs import StepCosts
from engine.scheduling.fairness import UserWork

_STEP_MS_ALONE, _STEP_MS_SHARED, _STEP_MS_HEAVY = 250.0, 25.0, 8.0
"""Time budget of one prefill chunk, in milliseconds.

It bounds the latency of cancellations and new jobs. With other sequences running it also bounds
their time per token. Prefetches always get the shared budget. While only heavy users have work, it
is smaller, because another user may come any moment.
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

_HEAVY_EVERY = 4
"""Heavy users decode in every step whose number is a multiple of this, whatever it costs."""

_HEAVY_SHARE = 0.125
"""Share of the time that prompts of users with much recent service get while others have work."""

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
    user: str = ""
    """Name of the user; empty if the engine has one user."""
    service_ms: float = 0.0
    """Recent service of the user, the same for all sequences of one priority."""
    is_heavy: bool = False
    """Whether the user has had more than a fair part (`RecentService.heavy`)."""

    @property
    def work(self) -> UserWork:
        """The user and the priority."""
        return self.user, self.priority

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
class HeavyTurn:
    """What heavy users may do in the next step although others have work."""

    decodes: bool
    prefills: bool


_BOTH = HeavyTurn(decodes=True, prefills=True)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The work of the next step."""

    decode_batch: tuple[int, ...]
    """Indexes of the sequences whose current step is completed, in one forward pass."""
    prefill_chunk: PrefillChunk | None
    """A chunk of one prefill that is computed after the batch, if there is one."""


def select_next_step(
    running: Sequence[RunningSequence],
    max_tokens: int,
    costs: StepCosts,
    *,
    is_chat_turn: bool,
    heavy: HeavyTurn = _BOTH,
) -> StepPlan:
    """Return the plan of the next step for the running sequences, of which there is at least one.

    `max_tokens` is the number of tokens that a step may have without a noticeable delay. With
    `is_chat_turn` chats take part although completions are running. `heavy` says what heavy users
    may do although others have work.
    """
    highest = min(sequence.priority for sequence in running)
    with_chats = highest == Priority.COMPLETION and is_chat_turn
    lowest = Priority.CHAT if with_chats else highest
    selected = [index for index, sequence in enumerate(running) if sequence.priority <= lowest]
    order = sorted(selected, key=lambda index: _rank(running[index]))
    decode_batch = _fair_batch(running, order, costs, heavy_decodes=heavy.decodes)
    tokens_left = max_tokens - sum(running[index].num_left for index in decode_batch)
    prefill = _next_prefill(running, order, is_heavy_turn=heavy.prefills or not decode_batch)
    if prefill is None:
        return StepPlan(decode_batch, None)
    num_tokens = min(running[prefill].num_left, max(_MIN_PREFILL_CHUNK, tokens_left))
    return StepPlan(decode_batch, PrefillChunk(prefill, num_tokens))


def _fair_batch(
    running: Sequence[RunningSequence],
    order: Sequence[int],
    costs: StepCosts,
    *,
    heavy_decodes: bool,
) -> tuple[int, ...]:
    """Return the sequences that decode: the first of each user, and others that cost little.

    Without `heavy_decodes` even the first of a heavy user takes part only if it costs little.
    """
    decoding = [index for index in order if running[index].is_decoding]
    if len({running[index].user for index in order}) < 2:
        return tuple(decoding)
    batch: dict[UserWork, int] = {}
    has_others = not all(running[index].is_heavy for index in decoding)
    for index in decoding:
        if heavy_decodes or not (running[index].is_heavy and has_others):
            batch.setdefault(running[index].work, index)
    chosen = set(batch.values())
    num_rows = sum(running[index].num_left for index in chosen)
    max_ms = _CHEAP * costs.milliseconds(num_rows)
    for index in decoding:
        if index not in chosen and costs.milliseconds(num_rows + running[index].num_left) <= max_ms:
            chosen.add(index)
            num_rows += running[index].num_left
    return tuple(index for index in decoding if index in chosen)


def _next_prefill(
    running: Sequence[RunningSequence], order: Sequence[int], *, is_heavy_turn: bool
) -> int | None:
    """Return the sequence whose prompt is computed next.

    In a turn of chats, those of users without a completion come first: otherwise the completions of
    one user could keep the chats of another one waiting without end.
    """
    waiting = [index for index in order if not running[index].is_decoding]
    typing = {running[i].user for i in order if running[i].priority is Priority.COMPLETION}
    waiting.sort(key=lambda index: running[index].user in typing)
    return next((i for i in waiting if is_heavy_turn or not running[i].is_heavy), None)


def _rank(sequence: RunningSequence) -> tuple[int, float, int, int]:
    """Return the sort key of a sequence: the smallest comes first."""
    priority, service_ms, number = sequence.priority, sequence.service_ms, sequence.number
    if priority != Priority.COMPLETION or sequence.waited_s > MAX_WAIT_S:
        return priority, service_ms, 0, number
    # A user who types on needs only the newest completion. But several users may share the engine.
    return priority, service_ms, 1, -number


def max_step_tokens(running: Sequence[RunningSequence], costs: StepCosts) -> int:
    """Return the number of tokens that a step may have without a noticeable delay."""
    if all(sequence.is_decoding for sequence in running):
        return DECODE_ROWS
    budget_ms = _STEP_MS_ALONE
    if len(running) > 1 or running[0].priority is Priority.PREFETCH or running[0].is_heavy:
        shared_ms = _STEP_MS_SHARED
        if all(sequence.is_heavy for sequence in running):
            shared_ms = _STEP_MS_HEAVY
        budget_ms = max(shared_ms, _MIN_SHARED_STEPS * costs.milliseconds(1))
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


class HeavyTurns:
    """Decides when heavy users take part in a step although others have work."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._credit_ms = 0.0

    def next_turn(
        self, running: Sequence[RunningSequence], max_tokens: int, costs: StepCosts
    ) -> HeavyTurn:
        """Return what they may do in the next step. Call this once per step.

        They decode in every fourth step at least. Their prompts take part when they have waited so
        long that a prefill chunk is their share of the time.
        """
        if not any(each.is_heavy for each in running):
            return _BOTH
        self._num_steps = (self._num_steps + 1) % _HEAVY_EVERY
        others = sum(min(each.num_left, max_tokens) for each in running if not each.is_heavy)
        self._credit_ms += _HEAVY_SHARE * costs.milliseconds(max(1, min(others, max_tokens)))
        waiting = (each.num_left for each in running if each.is_heavy and not each.is_decoding)
        chunk_ms = costs.milliseconds(min(next(waiting, max_tokens), max_tokens))
        return HeavyTurn(self._num_steps == 0, self._credit_ms >= chunk_ms)

    def record(self, running: Sequence[RunningSequence], plan: StepPlan) -> None:
        """Record which step was planned for the sequences."""
        if plan.prefill_chunk is not None and running[plan.prefill_chunk.index].is_heavy:
            self._credit_ms = 0.0


def _decode_rows(running: Sequence[RunningSequence], priority: Priority) -> int:
    return sum(
        sequence.num_left
        for sequence in running
        if sequence.is_decoding and sequence.priority is priority
    )
