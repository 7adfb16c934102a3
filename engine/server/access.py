"""Middleware that decides who may send requests, and measures how long the engine has been idle.

Listening on loopback does not keep web pages out: a page may send requests to 127.0.0.1, and after
DNS rebinding it may also read the responses, because the browser takes the engine for the page's
own server. Such requests name a foreign host in `Host` or `Origin`. With a token these headers
need no check, because no page knows the token. A Unix socket cannot be reached by a page.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.limits import MAX_REQUESTS
from engine.server.refusal import Refusal, too_many_requests


class TokenGuard:
    """Refuses requests without the bearer token (RFC 6750)."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] == "http" and not self._is_authorized(scope):
            refusal = Refusal(
                401,
                "This engine requires its token: send it as a bearer token, or set "
                "starcoder.engineToken.",
                kind="authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
                closes=True,
            )
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        scheme, _, credentials = (_header(scope, b"authorization") or b"").partition(b" ")
        is_equal = hmac.compare_digest(credentials.strip(b" "), self._token)
        return scheme.lower() == b"bearer" and is_equal


class OriginGuard:
    """Refuses requests that a web page may have sent: they name a foreign host."""

    def __init__(self, app: ASGIApp, host: str | None) -> None:
        """Create a guard; `host` is the address to listen on, None for a Unix socket."""
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] == "http" and (reason := self._reason_to_refuse(scope)):
            await Refusal(403, reason, code="forbidden", closes=True).response()(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _reason_to_refuse(self, scope: Scope) -> str | None:
        if self._host is not None:
            host = _header(scope, b"host")
            if host is None or not self._is_local(host.decode("latin-1")):
                return (
                    "The header Host names another machine. Send requests to localhost or "
                    "127.0.0.1, or start the engine with a token (--token-file)."
                )
        origin = _header(scope, b"origin")
        is_foreign = origin is not None and not self._is_local_origin(origin.decode("latin-1"))
        if is_foreign or _header(scope, b"sec-fetch-site") == b"cross-site":
            return (
                "A web page of another host sent this request. If you trust it, start the engine "
                "with a token (--token-file) that the page sends."
            )
        return None

    def _is_local_origin(self, origin: str) -> bool:
        scheme, separator, authority = origin.partition("://")
        return scheme in ("http", "https") and bool(separator) and self._is_local(authority)

    def _is_local(self, authority: str) -> bool:
        """Return whether `host` or `host:port` names this machine."""
        if authority.startswith("["):
            name, bracket, port = authority[1:].partition("]")
            has_end = bool(bracket) and (not port or port[0] == ":")
            return has_end and _is_port(port[1:]) and self._is_local_name(name)
        name, _, port = authority.partition(":")
        return _is_port(port) and self._is_local_name(name)

    def _is_local_name(self, name: str) -> bool:
        name = name.lower()
        return name in ("localhost", (self._host or "localhost").lower()) or is_loopback(name)


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())


def is_loopback(address: str) -> bool:
    """Return whether a text is an address of this machine's loopback interface."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> bytes | None:
    values = [value for key, value in scope["headers"] if key == name]
    # Of several values no later reader may take another one than was checked.
    return b", ".join(values) if values else None


class RequestLimit:
    """Refuses requests while too many others run or wait."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._num_requests >= MAX_REQUESTS:
            refusal = too_many_requests(
                f"{MAX_REQUESTS} requests are running or waiting. Try again in a moment."
            )
            await refusal.response()(scope, receive, send)
            return
        self._num_requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_requests -= 1


class Activity:
    """Counts the running requests that need the model, and measures the time without any."""

    def __init__(self) -> None:
        self._num_running = 0
        self._last_end = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request ended; 0 while one runs."""
        return 0.0 if self._num_running else time.monotonic() - self._last_end

    @contextmanager
    def count_request(self) -> Iterator[None]:
        """Count a request as running inside the block."""
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1
            self._last_end = time.monotonic()


class ActivityCounter:
    """Reports every request under /v1/ to an `Activity`, from the end of its body on."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app, self._activity = app, activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        with ExitStack() as stack:
            is_counted = False

            def count() -> None:
                nonlocal is_counted
                if not is_counted:
                    is_counted = True
                    stack.enter_context(self._activity.count_request())

            async def receive_and_count() -> Message:
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body", False):
                    count()
                return message

            if scope["method"] != "POST":
                count()
            await self._app(scope, receive_and_count, send)
