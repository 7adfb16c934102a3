"""Several chunks as one, where they come faster than anybody reads.

Each chunk that is handed over wakes the event loop, which wants the interpreter that the next step
wants too, and costs a message on the wire and a look at it on the other side.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.api import Chunk

_HOLD_S = 0.02
"""A chunk is held for so long at most, or for one step, if that takes longer."""


class Gathering:
    """Hands chunks on: at once what may be all that is wanted, the rest in few pieces.

    What may be all is the end of a line, and whatever a line begins with; from either, somebody may
    see that the rest is not wanted.
    """

    def __init__(self, give: Callable[[Chunk], None], *, at_once: bool) -> None:
        """`at_once` is whether the first chunk is waited for by itself."""
        self._give = give
        self._held: Chunk | None = None
        self._begins_line = False
        self._given = float("-inf") if at_once else time.monotonic()

    def __call__(self, chunk: Chunk) -> None:
        """Take a chunk."""
        held = chunk if self._held is None else _joined(self._held, chunk)
        now = time.monotonic()
        if chunk.finish is None and not self._telling(chunk.text) and now - self._given < _HOLD_S:
            self._held = held
            return
        self._held, self._given = None, now
        self._give(held)

    def _telling(self, text: str) -> bool:
        last = text.rpartition("\n")[2]
        telling = len(last) < len(text) or (self._begins_line and bool(last.strip()))
        self._begins_line = not last.strip() and (len(last) < len(text) or self._begins_line)
        return telling


def _joined(first: Chunk, then: Chunk) -> Chunk:
    size = len(first.text)
    return Chunk(
        first.text + then.text,
        (*first.ids, *then.ids),
        (*first.logprobs, *then.logprobs),
        (*first.ends, *(size + end for end in then.ends)),
        then.finish,
        then.usage,
    )
