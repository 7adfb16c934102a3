"""Shows the server's state to the user: the status bar, progress and messages."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from engine.api import Engine, EngineInfo, EngineState, Health
from fim.snapshot import CompletionResult
from lsp_server.session.client_requests import NoAnswerError, ask_client
from lsp_server.session.progress import Progress
from lsp_server.session.protocol import STATUS_METHOD

log = logging.getLogger(__name__)

_POLL_INTERVAL_S = 0.2
"""Seconds between two questions to an engine that is loading its model."""
_MAX_WAIT_S = 2.0
"""Seconds that a task waits for the client to create progress, before it goes on without."""


class State(StrEnum):
    """The server's state, as a status bar shows it."""

    STOPPED = "stopped"
    """Only for the engine of chat, which has not been needed yet."""
    STARTING = "starting"
    READY = "ready"
    ERROR = "error"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class ChatStatus:
    """The engine of a model that serves chat alone."""

    model: str
    device: str = ""
    state: State = State.STOPPED
    message: str = ""
    """Progress of loading, the reason of a failure, or a note on what a server lacks."""


@dataclass(frozen=True, slots=True)
class Status:
    """The parameters of the status notification."""

    state: State = State.STARTING
    message: str = ""
    model: str = ""
    device: str = ""
    demo: bool = False
    """Whether the model is the embedded demo model; clients should show this."""
    why: str = ""
    """Source of the latest suggestion, or the reason why the latest key got none."""
    source: str = ""
    """The same in one word: a `fim.snapshot.Source`."""
    asked: int = 0
    """Number of requests that this server sent to the engine for completions."""
    suggested: bool = False
    """Whether the latest key got a suggestion."""
    last_at: float = 0.0
    """Time of the latest suggestion, in seconds since 1970; 0 before the first one."""
    last_ms: float = 0.0
    """Milliseconds from the latest suggestion's request to its response."""
    tokens_per_second: float = 0.0
    """Speed of the engine's latest output; 0 while it is unknown."""
    chat: ChatStatus | None = None
    """The engine of chat; None if one model serves completions and chat."""

    def payload(self) -> dict[str, Any]:
        """Return the parameters as they are sent."""
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
            "chat": None if self.chat is None else asdict(self.chat),
        }


class StatusReporter:
    """Notifies one client of the server's state."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._shown_messages: set[str] = set()
        self.current = Status()

    # The status bar.

    def update(self, **changes: Any) -> None:
        """Change fields of the status; notify the client if any value differs."""
        changed = replace(self.current, **changes)
        if changed != self.current:
            self.current = changed
            self._server.protocol.notify(STATUS_METHOD, changed.payload())

    def update_chat(self, **changes: Any) -> None:
        """Change fields of the status of chat's own engine."""
        if self.current.chat is not None:
            self.update(chat=replace(self.current.chat, **changes))

    @property
    def has_failed(self) -> bool:
        """Whether the status bar shows an error."""
        return self.current.state is State.ERROR

    def show_disabled(self) -> None:
        """Show that the user switched suggestions off."""
        self.update(state=State.DISABLED, why="switched off")

    def show_engine(self, info: EngineInfo, note: str, *, enabled: bool) -> None:
        """Show the model of an engine that is ready, and a note on what it cannot do."""
        self.update(
            state=State.READY if enabled else State.DISABLED,
            message="demo model: too small for good suggestions" if info.is_demo else note,
            model=info.model,
            device=info.device,
            demo=info.is_demo,
        )

    def show_failure(self, message: str) -> None:
        """Show why the engine failed."""
        self.show_outage(message)
        self.notify_failure(message)

    def show_outage(self, message: str) -> None:
        """Show why the engine fails, in the status only."""
        self.update(state=State.ERROR, message=message, why="the engine failed")

    def notify_failure(self, message: str) -> None:
        """Show a message on a failure of the engine, unless the user has seen it."""
        self.notify_once(message, types.MessageType.Error)

    def show_completion(
        self, result: CompletionResult, elapsed_ms: float, num_engine_requests: int
    ) -> None:
        """Show the outcome of the latest completion request."""
        changes: dict[str, Any] = {
            "why": result.explanation,
            "source": str(result.source),
            "asked": num_engine_requests,
            "suggested": bool(result.suggestions),
        }
        if result.suggestions:
            changes |= {"last_at": time.time(), "last_ms": elapsed_ms}
        if result.tokens_per_second:
            changes["tokens_per_second"] = result.tokens_per_second
        self.update(**changes)

    # Messages.

    def notify_once(self, message: str, kind: types.MessageType) -> None:
        """Show a message unless the user has seen it. It may name files, so it is not logged."""
        log.warning("a message for the user: %s", kind.name)
        if message not in self._shown_messages:
            self._shown_messages.add(message)
            self.show_message(message, kind)

    def reset_notifications(self) -> None:
        """Show all messages again: the user changed settings and wants to see the effect."""
        self._shown_messages.clear()

    def show_message(self, message: str, kind: types.MessageType) -> None:
        """Show a message."""
        self._server.window_show_message(types.ShowMessageParams(kind, message))

    # Progress.

    @asynccontextmanager
    async def progress(self, title: str) -> AsyncIterator[Progress]:
        """Show progress while the block runs, which the user can cancel."""
        token = await self._begin_progress(title, is_cancellable=True)
        try:
            yield Progress(self._server, token)
        finally:
            if token is not None:
                self._end_progress(token)

    async def show_loading(
        self, engine: Engine, title: str, show: Callable[[Health], None]
    ) -> None:
        """Show the progress of an engine that loads its model, until it is ready or has failed.

        `show` puts each state of the loading into the status.
        """
        token, has_begun = None, False
        try:
            while True:
                health = await engine.health()
                if health.state in (EngineState.READY, EngineState.FAILED):
                    return
                show(health)
                if not has_begun:
                    token, has_begun = await self._begin_progress(title), True
                if token is not None:
                    percent = None if health.progress is None else int(100 * health.progress)
                    self._server.work_done_progress.report(
                        token,
                        types.WorkDoneProgressReport(message=health.detail, percentage=percent),
                    )
                await asyncio.sleep(_POLL_INTERVAL_S)
        finally:
            if token is not None:
                self._end_progress(token)

    async def _begin_progress(self, title: str, *, is_cancellable: bool = False) -> str | None:
        """Return the token of new progress, None if the client does not show progress."""
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return None
        token = str(uuid.uuid4())
        params = types.WorkDoneProgressCreateParams(token=token)
        method = types.WINDOW_WORK_DONE_PROGRESS_CREATE
        try:
            await ask_client(self._server, method, params, timeout_s=_MAX_WAIT_S)
        except NoAnswerError:
            return None
        begin = types.WorkDoneProgressBegin(title=title, cancellable=is_cancellable or None)
        self._server.work_done_progress.begin(token, begin)
        return token

    def _end_progress(self, token: str) -> None:
        self._server.work_done_progress.end(token, types.WorkDoneProgressEnd())
        self._server.work_done_progress.tokens.pop(token, None)
