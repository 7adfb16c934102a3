"""What callers hand to the engine's thread, and how its answers come back to their event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.api import Priority

DONE = object()
"""The last thing that a job is given, whatever became of it."""


@dataclass(eq=False)
class Job:
    """Something to compute for a caller on an event loop."""

    work: Callable[..., Any]
    """Called with (decoder, cache, give): returns an `engine.decoding.sequence.Work`."""
    prompt: tuple[int, ...]
    priority: Priority
    number: int
    """In order of arrival."""
    loop: asyncio.AbstractEventLoop
    adapter: str | None = None
    room: int = 0
    """Ids that may be written behind the prompt."""
    reuses: bool = True
    """Whether rows that are there of the prompt need no computing."""
    arrived: float = field(default_factory=time.monotonic)
    answers: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def give(self, answer: Any) -> None:
        """Hand over an answer; a caller whose loop is closed wants none."""
        try:
            self.loop.call_soon_threadsafe(self.answers.put_nowait, answer)
        except RuntimeError:
            self.cancelled.set()
