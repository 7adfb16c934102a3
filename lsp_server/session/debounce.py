"""The delay between a key press and the request to the model.

A model that usually answers before the next key is asked immediately: cancelling or joining such a
request costs nothing. A model that is slower than the typing would only compute outdated answers,
so its request waits until the user probably pauses.
"""

from __future__ import annotations

import statistics
from collections import deque

MAX_DELAY_MS = 250.0
"""Maximum delay, in milliseconds. A longer one would make the editor itself feel slow."""

_NUM_KEYS, _NUM_ANSWERS = 20, 10
_MAX_GAP_MS = 1000.0
"""Maximum milliseconds between two keys of a typing rhythm. A longer gap is a pause to think."""
_IN_TIME_SHARE = 0.6
"""Share of the median gap within which an answer usually arrives before the next key."""


class AdaptiveDebounce:
    """Derives the delay from one user's typing and one engine's response times (milliseconds)."""

    def __init__(self) -> None:
        self._last_key_ms: float | None = None
        self._gaps: deque[float] = deque(maxlen=_NUM_KEYS)
        self._answer_times: deque[float] = deque(maxlen=_NUM_ANSWERS)

    def on_key(self, now_ms: float) -> None:
        """Record a key."""
        if self._last_key_ms is not None and 0 < now_ms - self._last_key_ms <= _MAX_GAP_MS:
            self._gaps.append(now_ms - self._last_key_ms)
        self._last_key_ms = now_ms

    def on_answer(self, milliseconds: float) -> None:
        """Record how long the model took."""
        self._answer_times.append(milliseconds)

    def delay_ms(self) -> float:
        """Return how long to wait now; zero until there are measurements."""
        if not self._gaps or not self._answer_times:
            return 0.0
        gap = statistics.median(self._gaps)
        if statistics.median(self._answer_times) <= _IN_TIME_SHARE * gap:
            return 0.0
        return min(MAX_DELAY_MS, gap)
