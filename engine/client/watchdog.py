"""Notices that an engine does not answer at all, while a request waits for its output.

A request may wait for minutes: until the model is loaded, or until other requests end. Meanwhile
the engine still answers `/health` immediately. A process that is stopped (SIGSTOP) or stuck does
not, and then the caller gets an error in place of waiting for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from engine.errors import EngineSilentError

SILENCE_S = 5.0
"""Seconds of waiting after which the engine is asked whether it still answers, again and again."""


class Watchdog:
    """Context manager around one wait for an engine. It works as `asyncio.timeout` does.

    `check` raises EngineSilentError if the engine does not answer it. The wait then ends with this
    error.
    """

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._waiting: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._checking: asyncio.Task[None] | None = None
        self._error: EngineSilentError | None = None

    def __enter__(self) -> Self:
        self._waiting = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(SILENCE_S, self._start_checking)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._checking is not None:
            self._checking.cancel()
        if self._error is None or self._waiting is None:
            return
        # Unless the caller was cancelled, too.
        if self._waiting.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise self._error from None

    def _start_checking(self) -> None:
        self._checking = asyncio.create_task(self._check_repeatedly())

    async def _check_repeatedly(self) -> None:
        while True:
            try:
                await self._check()
            except EngineSilentError as error:
                self._error = error
                if self._waiting is not None:
                    self._waiting.cancel()
                return
            await asyncio.sleep(SILENCE_S)
