"""Who takes part in the next step: completion before chat, newest before stale, nobody starved.

What nobody waits for yet is computed only when nobody waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Priority

SHORT = 32
"""Ids: what has no more to compute goes into every step; a longer prefill goes in portions."""

LEAST_PORTION = 16
"""Ids of a prefill a step at least."""

PATIENCE_S = 0.5
"""A completion that has waited for so long goes before newer ones."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One answer under way, as far as planning goes."""

    priority: Priority
    number: int
    """In order of arrival."""
    waited_s: float
    left: int
    """Ids of its present step that are still to compute."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Indexes of answers."""

    together: tuple[int, ...]
    """Those whose present step is computed to its end, in one pass."""
    portion: tuple[int, int] | None
    """After that, so many ids of one prefill: (index, ids)."""


def plan(waiting: Sequence[Waiting], budget: int, *, chats_turn: bool) -> Plan:
    """Return what the next step computes.

    `budget` is how many ids a step may have for nobody to notice it, `chats_turn` whether chats
    take part although there are completions.
    """
    first = min(one.priority for one in waiting)
    last = Priority.CHAT if first == Priority.COMPLETION and chats_turn else first
    taking_part = [at for at, one in enumerate(waiting) if one.priority <= last]
    order = sorted(taking_part, key=lambda at: _rank(waiting[at]))
    together = tuple(at for at in order if waiting[at].left <= SHORT)
    rest = budget - sum(waiting[at].left for at in together)
    long = next((at for at in order if waiting[at].left > SHORT), None)
    if long is None:
        return Plan(together, None)
    return Plan(together, (long, min(waiting[long].left, max(LEAST_PORTION, rest))))


def _rank(one: Waiting) -> tuple[object, ...]:
    """Return the place of an answer among others: the least first."""
    if one.priority != Priority.COMPLETION:
        return (1 + one.priority, one.number)
    # Whoever types on wants the newest alone, but several type at once.
    return (0, one.number) if one.waited_s > PATIENCE_S else (1, -one.number)
