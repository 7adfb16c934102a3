"""Ends a server without cutting off answers: running requests finish, new ones are refused."""

from __future__ import annotations

import logging
import signal
import socket
import time
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import EngineBusyError
from engine.server.clients import Clients
from engine.server.limits import RETRY_AFTER_S
from engine.server.refusal import Refusal

log = logging.getLogger(__name__)

_UNCOUNTED = ("/health", "/metrics", "/process")
"""Beginnings of the paths that are answered until the end, and do not delay it."""


class Drain:
    """Counts the running requests, and says when the server may end."""

    def __init__(self) -> None:
        self.num_running = 0
        """Number of running requests."""
        self._deadline: float | None = None

    def begin(self, seconds: float) -> None:
        """Refuse new requests from now on, and give the running ones up to `seconds`."""
        self._deadline = time.monotonic() + seconds

    @property
    def is_on(self) -> bool:
        """Whether the server ends, so that new requests are refused."""
        return self._deadline is not None

    @property
    def is_expired(self) -> bool:
        """Whether the time of the running requests is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def is_over(self) -> bool:
        """Whether nothing keeps the server from ending."""
        return self.is_on and (not self.num_running or self.is_expired)


class DrainGuard:
    """Counts requests, and refuses those that arrive while the server ends."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app, self._drain = app, drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or scope["path"].startswith(_UNCOUNTED):
            await self._app(scope, receive, send)
            return
        if self._drain.is_on:
            refusal = Refusal(
                503,
                "This server is about to end and takes no new requests. Try again in a moment.",
                kind=EngineBusyError.kind,
                code="draining",
                headers={"Retry-After": str(RETRY_AFTER_S)},
                closes=True,
            )
            await refusal.response()(scope, receive, send)
            return
        self._drain.num_running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.num_running -= 1


class DrainingServer(uvicorn.Server):
    """Lets running requests finish after a signal, if `drain_s` is not 0.

    It ends the responses that clients keep open, before it waits for the others.
    """

    def __init__(
        self, config: uvicorn.Config, clients: Clients, drain: Drain, drain_s: float
    ) -> None:
        super().__init__(config)
        self._clients, self._drain, self._drain_s = clients, drain, drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal that ends the process; the second one ends it immediately.

        uvicorn would raise SIGTERM again when everything has ended, which would make a failure of
        it. After SIGINT a command line ends with a status of its own.
        """
        if sig == signal.SIGINT:
            self._captured_signals.append(sig)
        if self._drain.is_on:
            self._drain.begin(0)
        elif self._drain_s:
            self.drain()
        else:
            self.should_exit = True

    def drain(self) -> None:
        """End as soon as the running requests have finished, or their time is over."""
        log.info("ending; running requests have %.0f s to finish", self._drain_s)
        self._drain.begin(self._drain_s)

    @property
    def is_ending(self) -> bool:
        """Whether the server takes no new requests any more."""
        return self._drain.is_on or self.should_exit

    async def on_tick(self, counter: int) -> bool:
        """See `uvicorn.Server`: return whether the server ends now."""
        if self._drain.is_over:
            if self._drain.num_running:
                log.warning("%d requests did not finish in time", self._drain.num_running)
                self.config.timeout_graceful_shutdown = 0
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        self._clients.closing.set()
        await super().shutdown(sockets)
