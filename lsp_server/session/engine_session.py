"""The engine of completions: the one that the settings name, and reports on its state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from engine.api import Engine, EngineState, Health
from engine.errors import ConfigurationError, EngineUnavailableError, StarcoderError
from fim.prompt.families import detect
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.engine_choice import (
    EngineChoice,
    EngineFactory,
    chat_engine,
    completion_engine,
    is_selected_by_engine,
    leave_engine,
    set_companion,
)
from lsp_server.session.status import State, StatusReporter
from lsp_server.settings import Settings

log = logging.getLogger(__name__)

_SLOW_ANSWER_S = 0.5
"""Seconds without an answer after which the user sees whether the engine is loading."""


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
        self._choice = completion_engine(settings)
        self._status = status
        self._background = background
        self._on_unavailable = on_unavailable
        self.current = make_engine(self._choice)
        self._is_watching = False
        self._num_answers = 0

    def apply_settings(self, settings: Settings) -> None:
        """Replace the engine if the settings name another one; otherwise keep it running."""
        choice = completion_engine(settings)
        if choice == self._choice:
            set_companion(self.current, choice)
            self._settings = settings
            return
        # First, because it can raise; the present engine is then kept.
        engine = self._make_engine(choice)
        old, self.current = self.current, engine
        old_choice, self._choice, self._settings = self._choice, choice, settings
        self._status.update(tokens_per_second=0.0)
        self._background.spawn(self._move(old, old_choice, settings))

    async def _move(self, old: Engine, old_choice: EngineChoice, settings: Settings) -> None:
        """Leave an engine and start the one of these settings.

        The old one leaves first, so that its memory is free for the new model. But `auto` may
        select the model of the old engine, which must then stay.
        """
        choices = (completion_engine(settings), chat_engine(settings))
        needed = [choice for choice in choices if choice is not None]
        if is_selected_by_engine(needed[0]):
            await self.start()
            await leave_engine(old, old_choice, needed)
        else:
            await leave_engine(old, old_choice, needed)
            await self.start()

    async def start(self) -> None:
        """Start or find the engine, and show the progress and the result."""
        engine = self.current
        loading = self._status.show_loading(
            engine, "StarCoder: starting the engine", self._show_health
        )
        progress = asyncio.create_task(loading)
        try:
            info = await engine.info()
            note = await completion_note(engine)
        except StarcoderError as error:
            if engine is self.current:
                self.report_failure(error)
            return
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        if engine is self.current:  # it was not replaced meanwhile
            self._status.show_engine(info, note, enabled=self._settings.enabled)

    def _show_health(self, health: Health) -> None:
        self._status.update(state=State.STARTING, message=health.detail)

    def report_failure(self, error: StarcoderError) -> None:
        """Show why the engine did not answer."""
        self._status.show_failure(error.user_message)
        if isinstance(error, EngineUnavailableError):
            self._on_unavailable()

    def report_request(self) -> None:
        """Show that the engine is loading, if it does not answer soon: it may have ended."""
        if not self._is_watching:
            self._is_watching = True
            self._background.spawn(self._show_if_loading(self._num_answers))

    async def _show_if_loading(self, num_answers: int) -> None:
        try:
            await asyncio.sleep(_SLOW_ANSWER_S)
            if self._num_answers != num_answers or self._status.current.state is State.STARTING:
                return
            health = await self.current.health()
            if health.state in (EngineState.STARTING, EngineState.LOADING):
                await self.start()
        finally:
            self._is_watching = False

    def report_success(self) -> None:
        """Show that the engine works and which model it holds, if the status shows a failure."""
        self._num_answers += 1
        if self._status.has_failed:
            self._background.spawn(self.start())

    async def aclose(self) -> None:
        """Close the connection; the engine process goes on running for other clients."""
        await self.current.aclose()
