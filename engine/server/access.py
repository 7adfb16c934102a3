"""Who may ask, and when somebody last did."""

from __future__ import annotations

import hmac
import time

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class TokenGuard:
    """Lets through what shows the token (RFC 6750); without a token set, everything."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] == "http" and not self._admits(Request(scope)):
            body = {
                "error": {
                    "message": "This engine wants its token: send it as a bearer token, or set "
                    "starcoder.engineToken.",
                    "type": "authentication_error",
                    "param": None,
                    "code": "invalid_api_key",
                }
            }
            await JSONResponse(body, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admits(self, request: Request) -> bool:
        if self._expected is None:
            return True
        shown = request.headers.get("authorization", "").encode()
        return hmac.compare_digest(shown, self._expected)


class Activity:
    """Counts the requests that need the model, to know for how long there was none."""

    def __init__(self) -> None:
        self._running = 0
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last such request ended; 0 while one runs."""
        return 0.0 if self._running else time.monotonic() - self._last

    def began(self) -> None:
        """A request came."""
        self._running += 1

    def ended(self) -> None:
        """A request is answered, or its client is gone."""
        self._running -= 1
        self._last = time.monotonic()


class ActivityCounter:
    """Tells an Activity of every request under /v1/, from its first byte to its last."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app, self._activity = app, activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        counts = scope["type"] == "http" and scope["path"].startswith("/v1/")
        if not counts:
            await self._app(scope, receive, send)
            return
        self._activity.began()
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.ended()
