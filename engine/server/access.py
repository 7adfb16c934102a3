"""Middleware that checks the token and measures how long the engine has been idle."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class TokenGuard:
    """Refuses requests without the bearer token (RFC 6750), or none if no token is set."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] == "http" and not self._is_authorized(Request(scope)):
            body = {
                "error": {
                    "message": "This engine requires its token: send it as a bearer token, or set "
                    "starcoder.engineToken.",
                    "type": "authentication_error",
                    "param": None,
                    "code": "invalid_api_key",
                }
            }
            await JSONResponse(body, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_authorized(self, request: Request) -> bool:
        if self._expected is None:
            return True
        received = request.headers.get("authorization", "").encode()
        return hmac.compare_digest(received, self._expected)


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
    """Reports every request under /v1/ to an `Activity`, from its first byte to its last."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app, self._activity = app, activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            with self._activity.count_request():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)
