"""Decoding speed of a request, even if its output is not read to the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.api import Chunk

_MIN_TOKENS = 4
"""Minimum tokens of a measurement. With fewer, chunks that arrive together would distort it."""


class SpeedMeter:
    """Measures the decoding speed while the chunks of one request arrive.

    The engine reports its own measurement at the end of the output. Requests that are stopped early
    do not receive it, so the tokens after the first chunk are counted here. The time before the
    first chunk, the prefill, does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._first_chunk_s: float | None = None
        self._num_tokens = 0
        self._tokens_per_second = 0.0

    def add(self, chunk: Chunk) -> None:
        """Record a chunk that has just arrived."""
        now = self._clock()
        usage = chunk.usage
        if usage is not None and usage.decode_ms > 0:
            self._tokens_per_second = usage.completion_tokens * 1000 / usage.decode_ms
        elif self._first_chunk_s is None:
            self._first_chunk_s = now
        elif now > self._first_chunk_s:
            self._num_tokens += len(chunk.ids)
            if self._num_tokens >= _MIN_TOKENS:
                self._tokens_per_second = self._num_tokens / (now - self._first_chunk_s)

    @property
    def tokens_per_second(self) -> float:
        """Decoded tokens per second; 0 if too few have arrived to measure it."""
        return self._tokens_per_second
