"""Middleware that refuses foreign pages and too many requests, and measures the idle time.

Listening on loopback does not keep web pages out: a page may send requests to 127.0.0.1, and after
DNS rebinding it may also read the responses, because the browser takes the engine for the page's
own server. Such requests name a foreign host in `Host` or `Origin`. With a token or keys these
headers need no check, because no page knows them. A Unix socket cannot be reached by a page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.limits import MAX_REQUESTS, MAX_REQUESTS_OF_ALL, MIN_REQUESTS
from engine.server.operation.request_record import record_of
from engine.server.refusal import Refusal, too_many_requests
from engine.server.users.accounts import Account, Accounts


class OriginGuard:
    """Refuses requests that a web page may have sent: they name a foreign host."""

    def __init__(self, app: ASGIApp, host: str | None) -> None:
        """Create a guard; `host` is the address to listen on, None for a Unix socket."""
        self._app, self._origin = app, LocalOrigin(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] == "http" and (reason := self._origin.problem(scope)):
            await Refusal(403, reason, code="forbidden", closes=True).response()(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)


class LocalOrigin:
    """Says whether a request can come from a web page of another host."""

    def __init__(self, host: str | None) -> None:
        """`host` is the address to listen on, None for a Unix socket."""
        self._host = host

    def problem(self, scope: Scope) -> str | None:
        """Return why a web page may have sent a request, as a sentence; None if none has."""
        if self._host is not None:
            host = header_value(scope, b"host")
            if host is None or not self._is_local(host.decode("latin-1")):
                return (
                    "The header Host names another machine. Send requests to localhost or "
                    "127.0.0.1, or start the engine with a token (--token-file)."
                )
        origin = header_value(scope, b"origin")
        is_foreign = origin is not None and not self._is_local_origin(origin.decode("latin-1"))
        if is_foreign or header_value(scope, b"sec-fetch-site") == b"cross-site":
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
        ip = ip_address(address)
        # How a socket for IPv6 and IPv4 names an IPv4 client (RFC 4291, section 2.5.5.2).
        return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
    except ValueError:
        return False


def header_value(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a header, None if there is none; `name` is in lower case."""
    values = [value for key, value in scope["headers"] if key == name]
    # Of several values no later reader may take another one than was checked.
    return b", ".join(values) if values else None


class RequestLimit:
    """Refuses requests while the user or all users have too many, and beyond the user's limits."""

    def __init__(self, app: ASGIApp, accounts: Accounts) -> None:
        self._app, self._accounts = app, accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        account = record_of(scope).account
        assert account is not None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = account.headers().items()
                added = [(name.encode(), value.encode()) for name, value in headers]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        try:
            self._check_number(account)
            account.admit()
        except Refusal as refusal:
            await refusal.response()(scope, receive, send_with_headers)
            return
        account.num_running += 1
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            account.num_running -= 1

    def _check_number(self, account: Account) -> None:
        """Raise Refusal if the user has too many requests, or too large a part of all.

        A user may have as many as are left for all others (Choudhury and Hahne 1998, "Dynamic queue
        length thresholds"), and `MIN_REQUESTS` in any case: a flood refuses nobody else.
        """
        num_left = MAX_REQUESTS_OF_ALL - self._accounts.num_running
        if account.num_running >= min(MAX_REQUESTS, max(MIN_REQUESTS, num_left)):
            raise too_many_requests(
                f"{account.num_running} requests are running or waiting. Try again in a moment."
            )


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


_MODEL_PATHS = ("/v1/", "/infill", "/completion", "/api/generate", "/api/chat")
"""Beginnings of the paths whose requests need the model. `/completions` is among them."""


class ActivityCounter:
    """Reports every request that needs the model to an `Activity`, from the end of its body on."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app, self._activity = app, activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or not scope["path"].startswith(_MODEL_PATHS):
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
