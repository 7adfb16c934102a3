"""Which requests use which model, while the model is exchanged.

A request stays with one model from its first question to its last chunk, since the token ids of
one tokenizer mean nothing to another model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api import EngineInfo
from engine.local import LocalEngine

FINGERPRINT_HEADER = b"x-starcoder-fingerprint"
"""Header of a response with `EngineInfo.fingerprint` of the model that answered."""


@dataclass(eq=False)
class ServedModel:
    """A model, and the requests that use it."""

    engine: LocalEngine
    fingerprint: str = ""
    num_requests: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no request uses the model."""

    def __post_init__(self) -> None:
        self.unused.set()

    def take(self) -> None:
        """Add a request."""
        self.num_requests += 1
        self.unused.clear()

    def give_back(self) -> None:
        """Remove a request."""
        self.num_requests -= 1
        if not self.num_requests:
            self.unused.set()

    async def info(self) -> EngineInfo:
        """Wait until the model is loaded and return its description."""
        info = await self.engine.info()
        self.fingerprint = info.fingerprint
        return info


@dataclass
class Lease:
    """The model of one request: the one that was current at its first question."""

    served: ServedModel | None = None

    def end(self) -> None:
        """Give the model back."""
        if self.served is not None:
            self.served.give_back()


class ModelLease:
    """Keeps each request with one model, and names this model in the response."""

    def __init__(self, app: ASGIApp, lease: Callable[[], Lease]) -> None:
        """`lease` begins the lease of the current task, as `ReloadingEngine.lease` does."""
        self._app, self._lease = app, lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        lease = self._lease()

        async def send_with_fingerprint(message: Message) -> None:
            served = lease.served
            if message["type"] == "http.response.start" and served and served.fingerprint:
                header = (FINGERPRINT_HEADER, served.fingerprint.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_fingerprint)
        finally:
            lease.end()
