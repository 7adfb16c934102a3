"""When a server that failed is asked again: later after each failure, and never in step.

The delays grow exponentially. Each is multiplied with a random factor, so that the editors of a
team do not ask a restarted server at the same moment (Brooker 2015, "Exponential Backoff and
Jitter").
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 1.0
LONGEST_S = 30.0
LONGEST_WISH_S = 600.0
"""Longest time for which a header `Retry-After` is obeyed, in seconds."""


class Backoff:
    """The number of failures in a row, as a delay before the next try."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """`draw` returns a number from 0 to 1."""
        self._draw = draw
        self.num_failures = 0

    def fail(self, wish_s: float | None = None) -> float:
        """Count a failure; return the seconds to wait, at least as many as the server wishes."""
        # The exponent is limited because no float has room for 2 to the power of a long outage.
        longest = min(LONGEST_S, FIRST_S * 2.0 ** min(self.num_failures, 16))
        self.num_failures += 1
        delay = longest * (0.5 + 0.5 * self._draw())
        return max(delay, min(wish_s or 0.0, LONGEST_WISH_S))

    def reset(self) -> None:
        """Begin with the shortest delay again, because a request was answered."""
        self.num_failures = 0
