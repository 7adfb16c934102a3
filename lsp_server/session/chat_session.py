"""Chat in a session: the conversations, and how the model is asked in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chat.asker import Asker, ChatModel, OnPartial
from chat.conversations import Conversations
from chat.store import ConversationStore
from engine.api import Engine, EngineState
from engine.errors import StarcoderError
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.chat_engine import ChatEngineSession
from lsp_server.settings import Settings

T = TypeVar("T")

_PATIENCE_S = 0.5
"""Time to wait for facts about the model that the user does not need to send a message."""


@dataclass(frozen=True, slots=True)
class AttachmentSizes:
    """How many tokens attachments have, and how many a message may have."""

    tokens: list[int]
    room: int


class ChatSession:
    """The conversations of one editor window."""

    def __init__(
        self,
        settings: Settings,
        engine: ChatEngineSession,
        background: BackgroundTasks,
        on_problem: Callable[[str], None],
    ) -> None:
        """Create the session.

        `on_problem` gets a sentence for the user if conversations cannot be stored, from another
        thread.
        """
        self._settings = settings
        self._engine = engine
        self._background = background
        self._store = ConversationStore(on_problem=on_problem)
        self.conversations = Conversations(self._store)
        self.asker = Asker(engine.current, settings.chat)
        """Asks the model of the current engine of chat."""

    @property
    def storage_problem(self) -> str:
        """Why conversations are not stored, as a sentence for the user; empty if they are."""
        return self._store.problem

    def apply_settings(self, settings: Settings) -> None:
        """Use changed settings; call this after the engine sessions have applied them."""
        self._settings = settings
        self.asker = Asker(self._engine.current, settings.chat)

    def streaming_asker(self, on_partial: OnPartial) -> Asker:
        """Return an asker that reports the partial answers of one task."""
        return Asker(self._engine.current, self._settings.chat, on_partial)

    @property
    def expected_model(self) -> str:
        """Name of the model that the settings choose for chat; empty if a server chooses it."""
        settings = self._settings
        at_url = settings.engine_url is not None
        return settings.chat_model or (settings.engine_model or "" if at_url else settings.model)

    async def model(self) -> ChatModel | None:
        """Return the model that answers, None if its engine is not ready. Starts no engine."""
        return await self._soon(self._model(self._engine.current, self.asker))

    async def _model(self, engine: Engine, asker: Asker) -> ChatModel | None:
        is_ready = (await engine.health()).state is EngineState.READY
        return await asker.model() if is_ready else None

    async def sizes(self, texts: Sequence[str]) -> AttachmentSizes | None:
        """Return the sizes of attachments, None if the engine does not answer soon.

        This starts the engine, because the user is about to send a message.
        """
        return None if not texts else await self._soon(self._sizes(self.asker, texts))

    async def _sizes(self, asker: Asker, texts: Sequence[str]) -> AttachmentSizes:
        return AttachmentSizes([await asker.count(text) for text in texts], await asker.room())

    async def _soon(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return a result, None if it takes long or fails. The work goes on in the background."""
        result: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

        async def finish() -> None:
            try:
                value = await work
            except StarcoderError:  # the answer to the message reports it
                value = None
            if not result.done():
                result.set_result(value)

        self._background.spawn(finish())
        done, _ = await asyncio.wait([result], timeout=_PATIENCE_S)
        return result.result() if done else None
