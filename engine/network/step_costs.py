"""What a forward pass costs by how many ids it computes, learned while running.

A pass over a few ids takes hardly longer than one over a single id where weights are read from
memory (decoding), and in proportion to its ids where it is arithmetic (prefill). Where one turns
into the other depends on the device and the model, so it is measured.
"""

from __future__ import annotations

from bisect import bisect_left

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512)
_GUESSED_SHARE = 0.05
"""Of a pass over one id, for each id more, before anything is known: as measured at 1B on a CPU."""
_LEARNING = 0.2
"""Weight of the newest time in the average."""
_OUTLIER = 4.0
"""A time so many times the average is the neighbours', not the model's."""

_CHANCES = 20
"""Steps in which the chance of a guess is told apart."""
_KEEP_DRAFTS_FOR = 32
"""Passes; costs do not change faster than that."""


class StepCosts:
    """Milliseconds a pass, by its number of ids."""

    def __init__(self) -> None:
        self.others = 0
        """Ids that the next pass computes for other answers; told by the step loop."""
        self.aside_ms = 0.0
        """What the pass that is being timed spent on something else: a draft model's guesses."""
        self._known: dict[int, float] = {}
        self._sizes: list[int] = []
        self._learned = 0
        self._drafts: dict[tuple[int, int, int, int], tuple[int, float]] = {}
        """Best drafts as they were found, for a while."""

    def learn(self, ids: int, milliseconds: float) -> None:
        """Take the time of one pass."""
        milliseconds, self.aside_ms = milliseconds - self.aside_ms, 0.0
        size = _SIZES[min(bisect_left(_SIZES, ids), len(_SIZES) - 1)]
        # Near the upper end of its bucket, or it says little about it.
        if ids < 0.75 * size or ids > size:
            return
        before = self._known.get(size)
        if before is None:
            self._known[size] = milliseconds
            self._sizes = sorted(self._known)
        else:
            told = min(milliseconds, _OUTLIER * before)
            self._known[size] = before + _LEARNING * (told - before)
        self._learned += 1
        if self._learned % _KEEP_DRAFTS_FOR == 0:
            self._drafts.clear()

    def of(self, ids: int) -> float:
        """Return what a pass over so many ids takes; only ratios mean anything before the first."""
        sizes = self._sizes
        if not sizes:
            return 1.0 + _GUESSED_SHARE * (ids - 1)
        at = bisect_left(sizes, ids)
        if at == 0:
            # Nothing so small was measured: as much cheaper as guessed.
            return self._known[sizes[0]] * _guess(ids) / _guess(sizes[0])
        low = sizes[at - 1]
        if at == len(sizes):
            return self._known[low] * _guess(ids) / _guess(low)
        high = sizes[at]
        share = (ids - low) / (high - low)
        return self._known[low] * (1 - share) + max(self._known[high], self._known[low]) * share

    def within(self, milliseconds: float, least: int, most: int) -> int:
        """Return how many ids a pass of that time computes, within bounds."""
        if not self._known:
            return most
        while least < most:
            middle = (least + most + 1) // 2
            if self.of(middle) <= milliseconds:
                least = middle
            else:
                most = middle - 1
        return least

    def best_draft(self, chance: float, most: int, each_ms: float = 0.0) -> tuple[int, float]:
        """Return how many ids to guess, at most so many, for the most ids a millisecond: and those.

        `chance` is that of each guess to be right if those before it were, `each_ms` what it costs
        to make one.
        """
        # A tenth of a pass is near enough to remember a draft by.
        share = round(10 * each_ms / self.of(1))
        key = (round(chance * _CHANCES), self.others, most, share)
        if key not in self._drafts:
            self._drafts[key] = self._best_draft(key[0] / _CHANCES, self.others, most, each_ms)
        return self._drafts[key]

    def _best_draft(
        self, chance: float, others: int, most: int, each_ms: float
    ) -> tuple[int, float]:
        best, best_rate = 0, (1 + others) / self.of(1 + others)
        expected, right = 1.0, 1.0
        for guessed in range(1, most + 1):
            right *= chance
            expected += right
            cost = self.of(1 + guessed + others) + guessed * each_ms
            rate = (expected + others) / cost
            if rate > best_rate:
                best, best_rate = guessed, rate
        return best, best_rate


def _guess(ids: int) -> float:
    return 1.0 + _GUESSED_SHARE * (ids - 1)
