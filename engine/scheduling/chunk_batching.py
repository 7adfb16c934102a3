"""Combines chunks that arrive faster than a consumer can use them.

Each emitted chunk wakes up the event loop, which competes with the next step for the interpreter
lock. Over HTTP it also costs a message and its parsing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.api import Chunk

_MAX_HOLD_S = 0.02
"""Maximum number of seconds for which a chunk is held, or one step if that takes longer."""


class ChunkBatcher:
    """Emits chunks, several of them as one.

    Chunks that end or start a line are emitted immediately, because the consumer may stop there.
    Others are held for up to 20 ms.
    """

    def __init__(self, emit: Callable[[Chunk], None], *, is_first_urgent: bool) -> None:
        """Create a batcher; with `is_first_urgent` the first chunk is emitted immediately."""
        self._emit = emit
        self._pending: Chunk | None = None
        self._is_line_start = False
        self._emitted = float("-inf") if is_first_urgent else time.monotonic()

    def __call__(self, chunk: Chunk) -> None:
        """Emit a chunk, or hold it until a later one."""
        combined = chunk if self._pending is None else _combined(self._pending, chunk)
        now = time.monotonic()
        is_urgent = chunk.finish is not None or self._is_decisive(chunk.text)
        if not is_urgent and now - self._emitted < _MAX_HOLD_S:
            self._pending = combined
            return
        self._pending, self._emitted = None, now
        self._emit(combined)

    def _is_decisive(self, text: str) -> bool:
        """Return whether the text ends or starts a line."""
        last_line = text.rpartition("\n")[2]
        ends_line = len(last_line) < len(text)
        starts_line = self._is_line_start and bool(last_line.strip())
        self._is_line_start = not last_line.strip() and (ends_line or self._is_line_start)
        return ends_line or starts_line


def _combined(first: Chunk, second: Chunk) -> Chunk:
    size = len(first.text)
    return Chunk(
        first.text + second.text,
        (*first.ids, *second.ids),
        (*first.logprobs, *second.logprobs),
        (*first.ends, *(size + end for end in second.ends)),
        second.finish,
        second.usage,
    )
