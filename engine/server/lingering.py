"""Closes a connection whose client still sends, so that the client can read the response.

A socket that is closed before all input has been read sends a reset, and then the client loses the
response that it has not read yet (RFC 9112, section 9.6). So the rest of the body is read and
dropped, within limits.
"""

from __future__ import annotations

import asyncio

import h11

from engine.server.limits import LINGER_SECONDS, MAX_BODY_BYTES


class LingeringTransport:
    """A transport that closes when the request has arrived; otherwise it is the one within."""

    def __init__(self, transport: asyncio.Transport, connection: h11.Connection) -> None:
        self._transport, self._connection = transport, connection
        self._timer: asyncio.TimerHandle | None = None
        self._num_left = MAX_BODY_BYTES

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    @property
    def is_lingering(self) -> bool:
        """Whether the response is complete, and input is only dropped."""
        return self._timer is not None

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close as soon as the body has arrived; immediately if there is none, or when repeated."""
        if self.is_closing() or self._connection.their_state is not h11.SEND_BODY:
            self.end()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LINGER_SECONDS, self._transport.close)
        self._transport.resume_reading()
        self.drop(b"")

    def drop(self, data: bytes) -> None:
        """Take input that nobody reads."""
        self._num_left -= len(data)
        try:
            if data:
                self._connection.receive_data(data)
            while isinstance(self._connection.next_event(), h11.Data):
                pass
        except h11.RemoteProtocolError:
            self.end()
        if self._num_left < 0 or self._connection.their_state is not h11.SEND_BODY:
            self.end()

    def end(self) -> None:
        """Close now."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()
