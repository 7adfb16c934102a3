"""The newest request of a document replaces the older one; each request gets one response."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LatestWins:
    """Runs one coroutine per key; a newer one cancels the older one.

    Neovim does not cancel the previous completion request when a key is typed, so the server does.
    """

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def run(self, key: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`, None if a newer request for the same key replaced it.

        Cancelling the caller cancels the work.
        """
        if (older := self._running.get(key)) is not None:
            older.cancel()
        task = asyncio.create_task(work)
        self._running[key] = task
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            return None
        finally:
            if self._running.get(key) is task:
                del self._running[key]

    def cancel(self, key: str) -> None:
        """Cancel the work of a key, if any is running."""
        if (running := self._running.get(key)) is not None:
            running.cancel()
