"""The engine of completions: the one that the settings name, and reports on its state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from engine.api import Engine, EngineState, Health
from engine.client.remote import RemoteEngine
from engine.client.remote_watch import Report
from engine.errors import (
    ConfigurationError,
    EngineReplacedError,
    EngineUnavailableError,
    StarcoderError,
)
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
        self._watched: Engine | None = None
        """The engine at a URL that `_watch` watches."""
        self._shown_generation = 0
        self._is_waiting = False
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
        """Start or find the engine, and show the progress and the result.

        An engine at a URL is watched from now on.
        """
        engine = self.current
        if isinstance(engine, RemoteEngine):
            if engine is self._watched:
                await self._show_report(engine, engine.report)
            else:
                self._watched = engine
                self._background.spawn(self._watch(engine))
            return
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

    async def _watch(self, engine: RemoteEngine) -> None:
        """Show the state of an engine at a URL whenever it changes, until it is closed."""
        was_ready = False
        async with aclosing(engine.reports()) as reports:
            async for report in reports:
                if engine is not self.current:
                    return
                await self._show_report(engine, report)
                if was_ready and report.state is EngineState.FAILED and self._settings.enabled:
                    # At the start, the status alone says it.
                    self._status.notify_failure(report.detail)
                was_ready = report.state is EngineState.READY

    async def _show_report(self, engine: RemoteEngine, report: Report) -> None:
        if report.state is EngineState.READY and report.info is not None:
            if report.generation != self._shown_generation:
                self._shown_generation = report.generation
                self._on_unavailable()
            try:
                note = await completion_note(engine)
            except StarcoderError:  # its state has changed, so the next report comes soon
                return
            if engine is self.current and engine.report is report:
                notes = " ".join(text for text in (note, report.note) if text)
                self._status.show_engine(report.info, notes, enabled=self._settings.enabled)
        elif report.state is EngineState.FAILED:
            self._on_unavailable()
            if self._settings.enabled:
                self._status.show_outage(report.detail)
        elif report.state is EngineState.LOADING:
            title = "StarCoder: waiting for the engine"
            await self._status.show_loading(engine, title, self._show_health)
        else:
            self._status.update(state=State.STARTING, message=report.detail)

    @property
    def outage(self) -> str:
        """Why a key must not ask the engine at a URL now; empty if it may.

        The engine is asked again by itself, after delays that grow. If each key asked it, a server
        that is overloaded would stay so.
        """
        engine = self.current
        if isinstance(engine, RemoteEngine) and engine.report.state is EngineState.FAILED:
            return engine.report.detail
        return ""

    def report_failure(self, error: StarcoderError, *, by_user: bool = True) -> None:
        """Show why the engine did not answer.

        `by_user` says that the user asked on purpose, and sees once why nothing comes.
        """
        if self.outage or isinstance(error, EngineReplacedError):  # then `_watch` shows the state
            if by_user and self.outage:
                self._status.notify_failure(error.user_message)
            return
        self._status.show_failure(error.user_message)
        if isinstance(error, EngineUnavailableError):
            self._on_unavailable()

    def report_request(self) -> None:
        """Show that the engine is loading, if it does not answer soon: it may have ended."""
        if not self._is_waiting:
            self._is_waiting = True
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
            self._is_waiting = False

    def report_success(self) -> None:
        """Show that the engine works and which model it holds, if the status shows a failure."""
        self._num_answers += 1
        if self._status.has_failed:
            self._background.spawn(self.start())

    async def aclose(self) -> None:
        """Close the connection; the engine process goes on running for other clients."""
        await self.current.aclose()
