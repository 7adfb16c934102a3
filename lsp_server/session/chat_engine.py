"""The engine that answers chats and tasks: that of completions, or one with a model of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from engine.api import Chunk, Engine, EngineInfo, EngineState, GenerationRequest, Health
from engine.client.remote import RemoteEngine
from engine.errors import ConfigurationError, EngineUnavailableError, ModelError
from engine.tokenizer import Tokenizer
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.engine_choice import (
    EngineChoice,
    EngineFactory,
    chat_engine,
    completion_engine,
    leave_engine,
    set_companion,
)
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.status import ChatStatus, State, StatusReporter
from lsp_server.settings import Settings

_BETWEEN_REQUESTS_S = 0.5
"""Seconds without a request after which an answer has ended: each makes several requests."""


class ChatEngineSession:
    """Holds the engine of chat. An engine of its own starts with the first request to it."""

    def __init__(
        self,
        make_engine: EngineFactory,
        completions: EngineSession,
        status: StatusReporter,
        background: BackgroundTasks,
    ) -> None:
        self._make_engine = make_engine
        self._completions = completions
        self._status = status
        self._background = background
        self._choice: EngineChoice | None = None
        self._own: _ReportingEngine | None = None
        self._replaced: list[_ReportingEngine] = []

    @property
    def current(self) -> Engine:
        """The engine that chats and tasks ask."""
        return self._own or self._completions.current

    @property
    def own(self) -> Engine | None:
        """The engine with the chat's own model; None if one model serves both."""
        return self._own

    def apply_settings(self, settings: Settings) -> None:
        """Replace the engine if the settings name another one. Running answers go on."""
        choice = chat_engine(settings)
        if choice is not None and choice == self._choice and self._own is not None:
            set_companion(self._own.engine, choice)
            return
        engine = None if choice is None else self._make_engine(choice)  # first: it can raise
        if self._own is not None and self._choice is not None:
            self._own.is_replaced = True
            self._background.spawn(self._leave(self._own, self._choice, settings))
        elif choice is None:
            return
        self._choice = choice
        self._own = (
            None if engine is None else _ReportingEngine(engine, self._status, self._background)
        )
        chat = None if choice is None else ChatStatus(choice.model or choice.process.model)
        # Later, because nothing may be sent before the response to `initialize`.
        self._background.spawn(self._show(chat, self._own))

    async def _leave(
        self, old: _ReportingEngine, old_choice: EngineChoice, settings: Settings
    ) -> None:
        """Leave an engine when its running answers have ended."""
        self._replaced.append(old)
        while not old.unused.is_set():
            await old.unused.wait()
            await asyncio.sleep(_BETWEEN_REQUESTS_S)
        choices = (completion_engine(settings), chat_engine(settings))
        needed = [choice for choice in choices if choice is not None]
        await leave_engine(old.engine, old_choice, needed)
        self._replaced.remove(old)

    async def _show(self, chat: ChatStatus | None, engine: _ReportingEngine | None) -> None:
        if engine is self._own:
            self._status.update(chat=chat)

    async def aclose(self) -> None:
        """Close the connections; engine processes go on running for other clients."""
        for engine in (*self._replaced, *([] if self._own is None else [self._own])):
            await engine.aclose()


class _ReportingEngine:
    """Implements `engine.api.Engine` and shows what a request does to the chat's engine."""

    def __init__(self, engine: Engine, status: StatusReporter, background: BackgroundTasks) -> None:
        self.engine = engine
        self._background = background
        self._is_watched = False
        self.is_replaced = False
        """Whether the status shows another engine by now."""
        self.unused = asyncio.Event()
        """Set while no request runs."""
        self.unused.set()
        self._num_requests = 0
        self._status = status

    async def health(self) -> Health:
        """See `Engine.health`."""
        return await self.engine.health()

    async def info(self) -> EngineInfo:
        """See `Engine.info`. Starts the engine."""
        async with self._reporting():
            info = await self.engine.info()
        self._show(model=info.model, device=info.device)
        return info

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Starts the engine."""
        async with self._reporting():
            return await self.engine.tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. Starts the engine."""
        async with self._reporting(), aclosing(self.engine.stream(request)) as chunks:
            async for chunk in chunks:
                self._show(state=State.READY, message=self._note)
                yield chunk

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self.engine.aclose()

    @property
    def _note(self) -> str:
        """What the server of an engine at a URL lacks, for the user; empty if nothing is known."""
        return self.engine.report.note if isinstance(self.engine, RemoteEngine) else ""

    @asynccontextmanager
    async def _reporting(self) -> AsyncIterator[None]:
        """Show the progress of loading while the block runs, and an error of the engine.

        The caller shows the error too, as the answer to its request.
        """
        if isinstance(self.engine, RemoteEngine) and not self._is_watched:
            self._is_watched = True
            self._background.spawn(self._watch(self.engine))
        title = "StarCoder: starting the engine for chat"
        loading = self._status.show_loading(self.engine, title, self._show_health)
        progress = asyncio.create_task(loading)
        self._num_requests += 1
        self.unused.clear()
        try:
            yield
            self._show(state=State.READY, message=self._note)
        except (ModelError, ConfigurationError, EngineUnavailableError) as error:
            self._show(state=State.ERROR, message=error.user_message)
            raise
        finally:
            self._num_requests -= 1
            if not self._num_requests:
                self.unused.set()
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)

    def _show_health(self, health: Health) -> None:
        self._show(state=State.STARTING, message=health.detail)

    async def _watch(self, engine: RemoteEngine) -> None:
        """Show the state of an engine at a URL whenever it changes, until it is closed."""
        async with aclosing(engine.reports()) as reports:
            async for report in reports:
                if report.info is not None:
                    model, device = report.info.model, report.info.device
                    self._show(state=State.READY, message=report.note, model=model, device=device)
                elif report.state is EngineState.FAILED:
                    self._show(state=State.ERROR, message=report.detail)
                else:
                    self._show(state=State.STARTING, message=report.detail)

    def _show(self, **changes: object) -> None:
        if not self.is_replaced:
            self._status.update_chat(**changes)
