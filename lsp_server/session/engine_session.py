"""The engine of a session: the one that the settings name, and reports on its state.

The model runs in another process or on another machine (see `engine.client`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from engine.api import Engine
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine
from engine.errors import ConfigurationError, EngineUnavailableError, StarcoderError
from fim.prompt.families import detect
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.status import StatusReporter
from lsp_server.settings import Settings

log = logging.getLogger(__name__)

EngineFactory = Callable[[Settings], Engine]

_CHAT_RENDERER = "chat.rendering:render"


def create_engine(settings: Settings) -> Engine:
    """Return a client of the engine at `engine_url`, or of this machine's shared engine."""
    if settings.engine_url is not None:
        endpoint = Endpoint(settings.engine_url, token=settings.engine_token)
        tokenizer = None if settings.tokenizer is None else Path(settings.tokenizer).expanduser()
        return HttpEngine(endpoint, tokenizer)
    return ManagedEngine(settings.engine, (*DEFAULT_COMMAND, "--chat-renderer", _CHAT_RENDERER))


async def completion_note(engine: Engine) -> str:
    """Return what the engine's model cannot do, as a sentence for the user; empty if nothing.

    Raises the errors of `Engine.info`. A server may serve no tokenizer; then nothing is known here,
    and the first completion says so.
    """
    try:
        note = detect(await engine.tokenizer()).note
    except ConfigurationError:
        return ""
    if note:
        log.warning(note)
    return note


class EngineSession:
    """Holds the current engine, starts and replaces it, and reports its state to the user."""

    def __init__(
        self,
        make_engine: EngineFactory,
        settings: Settings,
        status: StatusReporter,
        background: BackgroundTasks,
        on_unavailable: Callable[[], None],
    ) -> None:
        """`on_unavailable` is called when the engine cannot be reached."""
        self._make_engine = make_engine
        self._settings = settings
        self._status = status
        self._background = background
        self._on_unavailable = on_unavailable
        self.current = make_engine(settings)

    def apply_settings(self, settings: Settings) -> None:
        """Replace the engine if the settings name another one; otherwise keep it running."""
        if settings.same_engine(self._settings):
            self._settings = settings
            return
        # First, because it can raise; the present engine is then kept.
        engine = self._make_engine(settings)
        old, self.current, self._settings = self.current, engine, settings
        self._background.spawn(old.aclose())
        self._status.update(tokens_per_second=0.0)
        self._background.spawn(self.start())

    async def start(self) -> None:
        """Start or find the engine, and show the progress and the result."""
        engine = self.current
        progress = asyncio.create_task(self._status.show_loading(engine))
        try:
            info = await engine.info()
            note = await completion_note(engine)
        except StarcoderError as error:
            self.report_failure(error)
            return
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        if engine is self.current:  # it was not replaced meanwhile
            self._status.show_engine(info, note, enabled=self._settings.enabled)

    def report_failure(self, error: StarcoderError) -> None:
        """Show why the engine did not answer."""
        self._status.show_failure(error.user_message)
        if isinstance(error, EngineUnavailableError):
            self._on_unavailable()

    def report_success(self) -> None:
        """Show that the engine works and which model it holds, if the status shows a failure."""
        if self._status.has_failed:
            self._background.spawn(self.start())

    async def aclose(self) -> None:
        """Close the connection; the engine process goes on running for other clients."""
        await self.current.aclose()
