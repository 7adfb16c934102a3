"""Steps: what an answer wants computed next, and how much of it is done.

An answer is a generator that yields steps and is sent what was read of their logits
(`engine.decoding.generation`), so the same code runs alone, driven by
`engine.decoding.decoder.Decoder`, and among
others in the step loop of `engine.scheduling.scheduler`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from engine.decoding.logits_reader import Choice, Reading
from engine.kv_cache.cache import KVCache


class Step(NamedTuple):
    """Ids to compute behind those that a cache holds."""

    ids: tuple[int, ...]
    certain: int
    """So many of them, from the first, belong to the sequence; the rest is guessed."""
    last: int = 1
    """For so many of them, from the last, logits are wanted."""
    choice: Choice | None = None
    """What is to be read of those; None for the logits alone."""


Work = Generator[Step, Reading, None]
"""Yields steps and is sent what was read of the logits of each."""


class Part(NamedTuple):
    """What one pass computes for one sequence."""

    ids: tuple[int, ...]
    cache: KVCache
    last: int
    """As in Step; 0 where the step goes on after this part."""
    choice: Choice | None = None
    """As in Step."""


class TokenSequence:
    """A cache and the work that fills it."""

    def __init__(self, work: Work, cache: KVCache) -> None:
        """Begin the work; raises what it raises before its first step."""
        self.cache = cache
        self._work = work
        self._done = 0
        self._step: Step | None = next(work)

    @property
    def left(self) -> int:
        """Ids that the present step has still to compute; 0 when the work is over."""
        return 0 if self._step is None else len(self._step.ids) - self._done

    def part(self, most: int) -> Part:
        """Return the next part of the present step.

        It has at most `most` ids, but never breaks up those whose logits are wanted.
        """
        step = self._step
        assert step is not None
        before = len(step.ids) - step.last - self._done
        if before > 0 and self.left > most:
            end = self._done + min(max(1, most), before)
            return Part(step.ids[self._done : end], self.cache, 0)
        return Part(step.ids[self._done :], self.cache, step.last, step.choice)

    def take(self, part: Part, reading: Reading) -> None:
        """Take what a pass made of the last part: the rows that are certain are committed."""
        step = self._step
        assert step is not None
        self.cache.commit(step.ids[self._done : min(self._done + len(part.ids), step.certain)])
        self._done += len(part.ids)
        if self._done == len(step.ids):
            self._done = 0
            self._step = next_step(self._work, reading)

    def close(self) -> None:
        """Stop the work where it is."""
        self._work.close()
        self._step = None


def next_step(work: Work, reading: Reading) -> Step | None:
    """Send what was read of a step; return the next step, None when the work is over."""
    try:
        return work.send(reading)
    except StopIteration:
        return None
