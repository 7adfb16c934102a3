"""How fast an answer was written, whether it was read to its end or not."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.api import Chunk

_ENOUGH = 4
"""Tokens below which chunks that happen to arrive together would make any figure."""


class Speed:
    """Watches one answer arrive.

    An answer that is cut off early brings no account of itself, so the tokens are counted here too:
    those after the first chunk, by the time since then, which leaves the prefill out.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._first: float | None = None
        self._tokens = 0
        self._rate = 0.0

    def take(self, chunk: Chunk) -> None:
        """Take note of a chunk that has just arrived."""
        now = self._clock()
        usage = chunk.usage
        if usage is not None and usage.decode_ms > 0:
            self._rate = usage.completion_tokens * 1000 / usage.decode_ms
        elif self._first is None:
            self._first = now
        elif now > self._first:
            self._tokens += len(chunk.ids)
            if self._tokens >= _ENOUGH:
                self._rate = self._tokens / (now - self._first)

    @property
    def tokens_per_second(self) -> float:
        """Tokens decoded in a second; 0 where too little arrived to tell."""
        return self._rate
