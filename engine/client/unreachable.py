"""Why nothing answers at an address, in words for the user."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx2

from engine.errors import reason_of


def reason_of_connection(error: BaseException) -> str:
    """Return why a connection failed, as the end of a sentence without a dot.

    The HTTP client wraps the system's error several times, so the causes are searched.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message.rstrip('.')})"
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS, so its address starts with http:// instead"
        if isinstance(cause, socket.gaierror):
            return "there is no host of this name"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there"
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.errno > 0:
            return reason_of(cause)
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    if isinstance(error, httpx2.ProtocolError):
        return "it does not speak HTTP"
    return "the connection failed"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what caused it.

    Unlike a log, this also follows contexts that the HTTP client suppresses: one of them is the
    system's own error.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        waiting += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
