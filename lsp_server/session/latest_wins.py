"""The newest request of a document wins; each gets exactly one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LatestWins:
    """Runs one piece of work a key; a newer one ends the older.

    Neovim does not cancel the request before when a key is typed, so this must.
    """

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def run(self, key: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns, None when a newer request for the key superseded it.

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
        """End the work of a key, if there is any: its document was closed."""
        if (running := self._running.get(key)) is not None:
            running.cancel()
