"""Answers on their way: who asks for what is being written already waits for it.

A flight is one request to the engine. It goes on while what was typed since agrees with what it
writes, whoever asked for it first; it stops the moment that nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fim.snapshot import Snapshot

GRACE_S = 0.06
"""An editor takes back its request at a key and sends the next: so long a flight goes on alone."""


class InFlightRequest:
    """One request to the engine, and those who wait for its answer."""

    def __init__(
        self, base: Snapshot, work: Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]
    ) -> None:
        """Start `work`; it is given a function that takes the text so far."""
        self.base = base
        self.text = ""
        self._waiting: dict[asyncio.Future[bool], str] = {}
        self._task = asyncio.create_task(work(self._grown))
        self._task.add_done_callback(self._landed)

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self._task.done()

    def typed_since(self, snapshot: Snapshot) -> str | None:
        """Return what was typed since it began, None where it cannot answer for a place."""
        base = self.base
        if snapshot.uri != base.uri or snapshot.after != base.after:
            return None
        if not snapshot.before.startswith(base.before):
            return None
        typed = snapshot.before[len(base.before) :]
        return typed if _agree(self.text, typed) else None

    async def wait(self, typed: str) -> bool:
        """Wait until it has landed; False as soon as it writes something else than was typed.

        Raises what the work raised. Cancelling leaves the flight to others, or ends it after
        `GRACE_S` where nobody takes it up.
        """
        arrived: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[arrived] = typed
        try:
            if self._task.done():
                self._landed(self._task)
            return await arrived
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(GRACE_S, self.stop_if_alone)
            raise
        finally:
            self._waiting.pop(arrived, None)

    def stop(self) -> None:
        """Stop the engine's work on it."""
        self._task.cancel()

    def _grown(self, text: str) -> None:
        self.text = text
        for arrived, typed in self._waiting.items():
            if not _agree(text, typed) and not arrived.done():
                arrived.set_result(False)
        if self._waiting and all(arrived.done() for arrived in self._waiting):
            self._task.cancel()  # all that wait have gone another way

    def _landed(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        for arrived in self._waiting:
            if arrived.done():
                continue
            if error is not None:
                arrived.set_exception(error)
            else:
                arrived.set_result(not task.cancelled())

    def stop_if_alone(self) -> None:
        """Stop it unless somebody waits for it."""
        if not self._waiting:
            self._task.cancel()


def _agree(text: str, typed: str) -> bool:
    """Whether one is the beginning of the other."""
    return text.startswith(typed) or typed.startswith(text)
