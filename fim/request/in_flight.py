"""Requests to the engine that are in flight, and that later completion requests may join.

An in-flight request continues as long as the text that the user types agrees with the output, even
if the completion request that started it was cancelled. It stops when nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fim.postprocess.candidate import Candidate
from fim.snapshot import Snapshot

GRACE_S = 0.06
"""Seconds for which a request goes on after its last waiter was cancelled.

Editors cancel a request at each key press and send the next one shortly afterwards.
"""

OnText = Callable[[str], None]
"""Function that receives the output so far."""


class InFlightRequest:
    """One request to the engine, and the tasks that wait for its candidate."""

    def __init__(
        self, base: Snapshot, generate: Callable[[OnText], Coroutine[Any, Any, Candidate]]
    ) -> None:
        """Start `generate`, which must pass the output so far to the given function."""
        self.base = base
        self._before, self._after = base.before, base.after
        self._text = ""
        self._waiters: dict[asyncio.Future[Candidate | None], str] = {}
        """Futures of the waiting tasks, with the text typed after the request started."""
        self._task = asyncio.create_task(generate(self._on_text))
        self._task.add_done_callback(self._finished)

    @property
    def done(self) -> bool:
        """Whether the request has finished, failed or been cancelled."""
        return self._task.done()

    def typed_since(self, snapshot: Snapshot) -> str | None:
        """Return the text that the user typed since the request started.

        The result is None if the request cannot answer for `snapshot`.
        """
        base = self.base
        num_typed = snapshot.cursor - base.cursor
        is_grown = len(snapshot.text) - len(base.text) == num_typed >= 0
        if snapshot.uri != base.uri or not is_grown:
            return None
        typed = snapshot.text[base.cursor : snapshot.cursor]
        if not _agree(self._text, typed):
            return None
        # The texts are compared last, and without copies, because they may be long.
        if not snapshot.text.startswith(self._before) or not snapshot.text.endswith(self._after):
            return None
        return typed

    async def candidate_after(self, typed: str) -> Candidate | None:
        """Wait for the candidate and return the rest of it after the user typed `typed`.

        The result is None, possibly before the request has finished, if the output does not agree
        with `typed`, or if the request was cancelled.

        Raises the error of the request. Cancelling this wait cancels the request after `GRACE_S`
        unless something else waits for it then.
        """
        waiter: asyncio.Future[Candidate | None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = typed
        try:
            if self._task.done():
                self._finished(self._task)
            return await waiter
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(GRACE_S, self.cancel_if_unused)
            raise
        finally:
            self._waiters.pop(waiter, None)

    async def wait_until_done(self) -> None:
        """Wait until the request has finished, failed or been cancelled."""
        await asyncio.wait([self._task])

    def cancel(self) -> None:
        """Cancel the request."""
        self._task.cancel()

    def cancel_if_unused(self) -> None:
        """Cancel the request unless something waits for it."""
        if not self._waiters:
            self._task.cancel()

    def _on_text(self, text: str) -> None:
        self._text = text
        for waiter, typed in self._waiters.items():
            if not _agree(text, typed) and not waiter.done():
                waiter.set_result(None)
        if self._waiters and all(waiter.done() for waiter in self._waiters):
            self._task.cancel()  # none of the waiters can use the output

    def _finished(self, task: asyncio.Task[Candidate]) -> None:
        error = None if task.cancelled() else task.exception()
        for waiter, typed in self._waiters.items():
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(None if task.cancelled() else task.result().after_typing(typed))


def _agree(text: str, typed: str) -> bool:
    """Return whether one text is the beginning of the other."""
    return text.startswith(typed) or typed.startswith(text)
