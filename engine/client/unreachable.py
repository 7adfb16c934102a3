"""Why nothing answers at an address, in words for the user."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import httpx2

from engine.errors import EngineSilentError, EngineUnavailableError, reason_of

_TRUST = (
    "Set the environment variable SSL_CERT_FILE to a file with the certificate of the authority "
    "that signed it (PEM), where the editor is started; the file replaces the system's list."
)
_CERTIFICATE_FAULTS = (
    (
        (9, 10),
        "its certificate has expired, or is not valid yet",
        "Its administrator must renew it, unless the clock of this machine is wrong.",
    ),
    (
        (62, 64),
        "its certificate was made for another host",
        "Set starcoder.engineUrl to a name that the certificate contains.",
    ),
    (
        (18, 19, 20, 21),
        "its certificate is signed by an authority that this machine does not know",
        _TRUST,
    ),
)
"""Codes of OpenSSL (X509_verify_cert_error_string(3)): what is wrong, and what to do."""
_SPEAKS_TLS = "Set starcoder.engineUrl to the same address with https://, or check its port."


class Unreachable(NamedTuple):
    """Why a connection failed."""

    reason: str
    """The end of a sentence, without a full stop."""
    advice: str
    """What to do, as a sentence."""


def silent_server(url: str) -> EngineSilentError:
    """Return the error for a server that accepts a connection and does not answer."""
    return EngineSilentError(
        f"The server at {url} accepts connections, but does not answer. Restart it, or set "
        "starcoder.engineUrl to another."
    )


def unreachable_server(url: str, error: BaseException) -> EngineUnavailableError:
    """Return the error for a server to which no connection can be made."""
    reason, advice = why_unreachable(error)
    return EngineUnavailableError(f"No engine answers at {url}: {reason}. {advice}")


def why_unreachable(error: BaseException) -> Unreachable:
    """Return why a connection to a URL failed, and what to do.

    The HTTP client wraps the system's error several times, so the causes are searched.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_fault(cause)
        if isinstance(cause, ssl.SSLError):
            return Unreachable(
                "it does not speak TLS",
                "Set starcoder.engineUrl to the same address with http:// in place of https://.",
            )
    return Unreachable(reason_of_connection(error), _advice(error))


def _certificate_fault(error: ssl.SSLCertVerificationError) -> Unreachable:
    code = getattr(error, "verify_code", 0)
    for codes, reason, advice in _CERTIFICATE_FAULTS:
        if code in codes:
            return Unreachable(reason, advice)
    # macOS and Windows have codes of their own.
    words = str(getattr(error, "verify_message", "") or "no reason is given").rstrip(".")
    return Unreachable(f"its certificate is not trusted ({words})", _TRUST)


def _advice(error: BaseException) -> str:
    if isinstance(error, httpx2.ProtocolError):
        return _SPEAKS_TLS
    return "Check that it runs, or set starcoder.engineUrl to the address of one that does."


def reason_of_connection(error: BaseException) -> str:
    """Return why a connection failed, as the end of a sentence without a full stop."""
    for cause in _causes(error):
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
