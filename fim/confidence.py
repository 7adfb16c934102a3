"""How sure the model was of what it wrote, from the probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Eagerness = Literal["eager", "balanced", "reserved"]

THRESHOLDS: dict[Eagerness, float] = {"eager": 0.0, "balanced": 0.02, "reserved": 0.3}
"""Confidence below which nothing is shown unasked, chosen by measurement: docs/confidence.md."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the tokens of a text, by where each token ends in it."""

    ends: tuple[int, ...] = ()
    """Offsets, in characters, in ascending order."""
    logprobs: tuple[float, ...] = ()
    """Natural logarithms."""

    def confidence(self, start: int, stop: int) -> float:
        """Return the probability of the text from `start` to `stop`, 0 to 1, as the model sees it.

        That is the product over the tokens that have a part in it; 1 where nothing is known, as of
        an engine that tells no probabilities. A token without a character of its own is the first
        part of the character that follows.
        """
        total, begin = 0.0, 0
        for end, logprob in zip(self.ends, self.logprobs, strict=True):
            if begin < stop and (end > start or start <= begin == end):
                total += logprob
            begin = end
        return math.exp(total)

    def from_offset(self, offset: int) -> Scores:
        """Return the scores of the text from `offset` on."""
        kept = [pair for pair in zip(self.ends, self.logprobs, strict=True) if pair[0] > offset]
        return Scores(tuple(end - offset for end, _ in kept), tuple(score for _, score in kept))


def first_line(text: str) -> int:
    """Return where the first line with something on it ends: what a suggestion is judged by."""
    begun = len(text) - len(text.lstrip())
    end = text.find("\n", begun)
    return len(text) if end < 0 else end


class Scorer:
    """Collects scores as text arrives."""

    def __init__(self) -> None:
        self._length = 0
        self._ends: list[int] = []
        self._logprobs: list[float] = []

    def add(self, text: str, logprobs: Iterable[float]) -> None:
        """Take what arrived at once: all of its tokens end where it does."""
        self._length += len(text)
        for logprob in logprobs:
            self._ends.append(self._length)
            self._logprobs.append(logprob)

    def scores(self) -> Scores:
        """Return all so far."""
        return Scores(tuple(self._ends), tuple(self._logprobs))
