"""Chat in a session: the conversations, and how the model is asked in them."""

from __future__ import annotations

from collections.abc import Callable

from chat.asker import Asker, OnPartial
from chat.conversations import Conversations
from chat.store import ConversationStore
from lsp_server.session.chat_engine import ChatEngineSession
from lsp_server.settings import Settings


class ChatSession:
    """The conversations of one editor window."""

    def __init__(
        self, settings: Settings, engine: ChatEngineSession, on_problem: Callable[[str], None]
    ) -> None:
        """Create the session.

        `on_problem` gets a sentence for the user if conversations cannot be stored, from another
        thread.
        """
        self._settings = settings
        self._engine = engine
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
