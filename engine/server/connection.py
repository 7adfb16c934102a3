"""The HTTP server's connections: uvicorn's, with limits of number, time and size.

uvicorn closes a connection that stays idle after a response. It waits without end for the first
byte, for the rest of a request, and for a client that reads nothing.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Mapping

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.server.limits import (
    BODY_SECONDS,
    HEAD_SECONDS,
    KEEP_ALIVE_SECONDS,
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    SEND_SECONDS,
)
from engine.server.lingering import LingeringTransport
from engine.server.refusal import Refusal, too_many_requests

_GRACEFUL_SHUTDOWN_S = 3
_BODY_GRACE_S = 5.0
"""Seconds in which `engine.server.bodies` refuses a slow body before the connection is closed."""


def server_config(app: ASGIApp, tls: ssl.SSLContext | None = None) -> uvicorn.Config:
    """Return uvicorn's configuration for an application, with TLS if there is a context."""
    return uvicorn.Config(
        app,
        http=LimitedConnection,
        log_config=None,
        # Its lines about start and end add nothing to ours.
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        # A client can write any address into `X-Forwarded-For`, so no header changes the address.
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_S,
        ssl_context_factory=None if tls is None else lambda _, __: tls,
    )


class LimitedConnection(H11Protocol):
    """A connection that is closed when its client does not send or read in time."""

    _lingering: LingeringTransport
    _receive_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _awaited: object = None
    """State of the client that the receive timer limits: before a request, or in its body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.BaseProtocol`."""
        self._lingering = LingeringTransport(transport, self.conn)
        super().connection_made(self._lingering)  # type: ignore[arg-type]
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(
                too_many_requests(f"{MAX_CONNECTIONS} connections are open. Try again in a moment.")
            )
            return
        self._limit_receiving()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._lingering.is_lingering:
            self._lingering.drop(data)
            return
        super().data_received(data)
        self._limit_receiving()

    def on_response_complete(self) -> None:
        """Called when a response has been sent."""
        super().on_response_complete()
        self._limit_receiving()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        for timer in (self._receive_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP. uvicorn calls this while it handles h11's error."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if status == 431:
            message = f"The headers are larger than {MAX_HEAD_BYTES:,} bytes. Send fewer."
        else:
            message = "The request is not valid HTTP/1.1."
        self._refuse(Refusal(status, message, code="invalid_http", closes=True))

    def _limit_receiving(self) -> None:
        """Start the time limit of what the client has to send next."""
        state = self.conn.their_state
        if state is self._awaited:
            return
        self._awaited = state
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None
        if self.transport.is_closing():
            return
        if state is h11.IDLE:
            self._receive_timer = self.loop.call_later(HEAD_SECONDS, self._refuse_slow_request)
        elif state is h11.SEND_BODY:
            seconds = BODY_SECONDS + _BODY_GRACE_S
            self._receive_timer = self.loop.call_later(seconds, self._refuse_slow_request)

    def _refuse_slow_request(self) -> None:
        message = "The request did not arrive in time. Send it faster."
        self._refuse(Refusal(408, message, code="request_timeout", closes=True))

    def _refuse(self, refusal: Refusal) -> None:
        """Close the connection, after a response if the client can still receive one."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # For the application the client has gone. It sends nothing from now on.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(refusal.body).encode()
            headers = {
                **refusal.headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }
            response = h11.Response(status_code=refusal.status, headers=_encoded(headers))
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self._lingering.end()


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
