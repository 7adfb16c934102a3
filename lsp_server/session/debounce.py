"""How long to wait after a key before the model is asked.

A model that answers before the next key is asked at once: what it began is taken back or joined
for nothing. One that is slower than the typing would only ever work on what is stale already, so it
waits until a pause is likely.
"""

from __future__ import annotations

import statistics
from collections import deque

LONGEST_MS = 250.0
"""More would be felt as the editor's own slowness."""

_KEYS, _ANSWERS = 20, 10
_LONGEST_GAP_MS = 1000.0
"""A longer one is a pause to think, and says nothing of the rhythm."""
_SHARE = 0.6
"""Of the gap between keys: an answer within it is there in time most often."""


class Pacing:
    """Watches one person's typing and one engine's answers; times in milliseconds."""

    def __init__(self) -> None:
        self._last_key: float | None = None
        self._gaps: deque[float] = deque(maxlen=_KEYS)
        self._answers: deque[float] = deque(maxlen=_ANSWERS)

    def key(self, now: float) -> None:
        """Take note of a key."""
        if self._last_key is not None and 0 < now - self._last_key <= _LONGEST_GAP_MS:
            self._gaps.append(now - self._last_key)
        self._last_key = now

    def answered(self, milliseconds: float) -> None:
        """Take note of how long the model took."""
        self._answers.append(milliseconds)

    def delay(self) -> float:
        """Return how long to wait now: nothing while too little is known."""
        if not self._gaps or not self._answers:
            return 0.0
        gap = statistics.median(self._gaps)
        if statistics.median(self._answers) <= _SHARE * gap:
            return 0.0
        return min(LONGEST_MS, gap)
