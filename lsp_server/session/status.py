"""What the user sees of the server's state: a notification for a status bar, progress, messages."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from engine.api import Engine, EngineState

log = logging.getLogger(__name__)

METHOD = "starcoder/status"
"""Our own notification; clients that do not know it ignore it."""

_LOOK_EVERY_S = 0.2


class State(StrEnum):
    """Where the server stands, as a status bar shows it."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    ERROR = "error"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Status:
    """The notification's parameters."""

    state: State = State.STARTING
    message: str = ""
    model: str = ""
    device: str = ""
    demo: bool = False
    """Whether the model is the embedded demo model; a client is to say so."""
    why: str = ""
    """Where the last key's suggestion came from, or why there was none."""
    source: str = ""
    """Where the last key's answer came from, in a word: a `fim.snapshot.Source`."""
    asked: int = 0
    """How often the engine was asked for a completion by this server."""
    suggested: bool = False
    """Whether the last key got a suggestion."""
    last_at: float = 0.0
    """When the last suggestion was made, in seconds since 1970; 0 before there was any."""
    last_ms: float = 0.0
    """Milliseconds from its request to its answer."""
    tokens_per_second: float = 0.0
    """How fast the engine wrote when last it did; 0 while that is unknown."""

    def params(self) -> dict[str, Any]:
        """Return the wire form."""
        return {
            "state": str(self.state),
            "message": self.message,
            "model": self.model,
            "device": self.device,
            "demo": self.demo,
            "why": self.why,
            "source": self.source,
            "asked": self.asked,
            "suggested": self.suggested,
            "lastAt": round(self.last_at, 3),
            "lastMs": round(self.last_ms, 1),
            "tokensPerSecond": round(self.tokens_per_second, 1),
        }


class StatusReporter:
    """Tells one client what changes."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._told: set[str] = set()
        self.status = Status()

    def update(self, **changes: Any) -> None:
        """Change the status and notify, if anything did change."""
        changed = replace(self.status, **changes)
        if changed != self.status:
            self.status = changed
            self._server.protocol.notify(METHOD, changed.params())

    def notify_once(self, message: str, kind: types.MessageType) -> None:
        """Show a message, unless the user was told the same before."""
        log.log(logging.ERROR if kind is types.MessageType.Error else logging.WARNING, message)
        if message not in self._told:
            self._told.add(message)
            self._server.window_show_message(types.ShowMessageParams(kind, message))

    def reset_notifications(self) -> None:
        """Forget what was told: the user changed something and wants to hear of it."""
        self._told.clear()

    @asynccontextmanager
    async def progress(self, title: str) -> AsyncIterator[asyncio.Future[Any] | None]:
        """Show that something takes its time; yields what is done when the user cancels it.

        None where the client shows no progress.
        """
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            yield None
            return
        shown = self._server.work_done_progress
        token = str(uuid.uuid4())
        await shown.create_async(token)
        shown.begin(token, types.WorkDoneProgressBegin(title=title, cancellable=True))
        try:
            yield asyncio.wrap_future(shown.tokens[token])
        finally:
            shown.end(token, types.WorkDoneProgressEnd())

    async def follow(self, engine: Engine) -> None:
        """Report the loading of an engine as progress, until it is ready or has failed."""
        token = await self._begin_progress()
        try:
            while True:
                health = await engine.health()
                if health.state in (EngineState.READY, EngineState.FAILED):
                    return
                self.update(state=State.STARTING, message=health.detail)
                if token is not None:
                    share = None if health.progress is None else int(100 * health.progress)
                    self._server.work_done_progress.report(
                        token, types.WorkDoneProgressReport(message=health.detail, percentage=share)
                    )
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            if token is not None:
                self._server.work_done_progress.end(token, types.WorkDoneProgressEnd())

    async def _begin_progress(self) -> str | None:
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return None
        token = str(uuid.uuid4())
        await self._server.work_done_progress.create_async(token)
        self._server.work_done_progress.begin(
            token, types.WorkDoneProgressBegin(title="StarCoder: starting the engine")
        )
        return token
