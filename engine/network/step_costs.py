"""The measured duration of a forward pass by its number of rows.

A pass over a few rows takes hardly longer than a pass over one row while reading the weights from
memory is the limit (decoding). It takes time in proportion to its rows while arithmetic is the
limit (prefill). Where one changes into the other depends on the device and the model, so the
durations are measured while the engine runs.
"""

from __future__ import annotations

from bisect import bisect_left

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512)
"""Numbers of rows whose durations are measured."""
_ASSUMED_SHARE = 0.05
"""Assumed cost of each further row, in passes over one row, before anything is measured. The value
was measured with a model of 1B parameters on a CPU."""
_LEARNING_RATE = 0.2
"""Weight of the newest duration in the moving average."""
_MAX_OUTLIER = 4.0
"""Multiple of the average above which a duration is clipped: other programs caused it."""


class StepCosts:
    """Milliseconds per forward pass, by the number of its rows."""

    def __init__(self) -> None:
        self.num_measured = 0
        """Number of durations recorded so far."""
        self._average_ms: dict[int, float] = {}
        self._sizes: list[int] = []

    def record(self, num_rows: int, milliseconds: float) -> None:
        """Record the duration of one pass."""
        size = _SIZES[min(bisect_left(_SIZES, num_rows), len(_SIZES) - 1)]
        # Only a number near the upper end of its bucket says something about the bucket.
        if num_rows < 0.75 * size or num_rows > size:
            return
        average = self._average_ms.get(size)
        if average is None:
            self._average_ms[size] = milliseconds
            self._sizes = sorted(self._average_ms)
        else:
            clipped = min(milliseconds, _MAX_OUTLIER * average)
            self._average_ms[size] = average + _LEARNING_RATE * (clipped - average)
        self.num_measured += 1

    def milliseconds(self, num_rows: int) -> float:
        """Return the expected duration of a pass over `num_rows` rows, in milliseconds.

        Before the first measurement only ratios of the results are meaningful.
        """
        sizes = self._sizes
        if not sizes:
            return _assumed_cost(num_rows)
        index = bisect_left(sizes, num_rows)
        if index == 0 or index == len(sizes):
            nearest = sizes[min(index, len(sizes) - 1)]
            return self._average_ms[nearest] * _assumed_cost(num_rows) / _assumed_cost(nearest)
        low, high = sizes[index - 1], sizes[index]
        low_ms, high_ms = self._average_ms[low], self._average_ms[high]
        share = (num_rows - low) / (high - low)
        return low_ms * (1 - share) + max(high_ms, low_ms) * share

    def max_rows_within(self, milliseconds: float, min_rows: int, max_rows: int) -> int:
        """Return the number of rows that a pass of this duration computes, within the bounds."""
        if not self._average_ms:
            return max_rows
        while min_rows < max_rows:
            middle = (min_rows + max_rows + 1) // 2
            if self.milliseconds(middle) <= milliseconds:
                min_rows = middle
            else:
                max_rows = middle - 1
        return min_rows


def _assumed_cost(num_rows: int) -> float:
    return 1.0 + _ASSUMED_SHARE * (num_rows - 1)
