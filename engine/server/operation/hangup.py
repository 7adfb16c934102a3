"""SIGHUP: a request to load everything again, or the end of the terminal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_SETTLE_S = 0.1
"""Seconds after the signal until the process has surely lost a terminal that closes."""


class Hangup:
    """Handles SIGHUP (Unix).

    The signal has two meanings. A service gets it from its administrator, who wants it to read its
    files again. A program in a terminal gets it when the terminal closes, and must end. The first
    signal after which the terminal has gone is of the second kind. `nohup` lets the program ignore
    that. While the process ends already, neither meaning asks for anything.
    """

    def __init__(
        self,
        reload: Callable[[], Awaitable[None]],
        end: Callable[[], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self._reload, self._end, self._is_ending = reload, end, is_ending
        self._has_terminal = _has_terminal()
        self._ignores_end = False
        self._task: asyncio.Task[None] | None = None
        self._is_asked_again = False

    def listen(self) -> None:
        """Handle the signal in the running event loop from now on."""
        if not hasattr(signal, "SIGHUP"):
            return
        self._ignores_end = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, loop.call_later, _SETTLE_S, self._handle)

    def _handle(self) -> None:
        if self._is_ending():
            log.info("SIGHUP has no effect: this server is about to end")
            return
        if self._has_terminal and not _has_terminal():
            self._has_terminal = False
            if not self._ignores_end:
                self._end()
            return
        # Signals during a reload are one request to do it again: files may have changed meanwhile.
        if self._task is not None and not self._task.done():
            self._is_asked_again = True
        else:
            self._task = asyncio.create_task(self._reload_until_current())

    async def _reload_until_current(self) -> None:
        self._is_asked_again = True
        while self._is_asked_again and not self._is_ending():
            self._is_asked_again = False
            try:
                await self._reload()
            except Exception:
                log.exception("reading the files again failed")


def _has_terminal() -> bool:
    """Return whether the process has a controlling terminal (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
