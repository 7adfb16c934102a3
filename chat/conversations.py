"""Conversations with the model: send, stop, retry and edit messages, and store the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from chat.answering import AnswerInProgress, OnText, StoredAnswer
from chat.asker import Asker
from chat.attachments import Attachment, with_attachments
from chat.slash import parse_slash
from chat.store import ConversationStore
from chat.turns import Conversation, ConversationSummary, new_turn
from engine.errors import RequestError


class Conversations:
    """The conversations of one editor window. Each can have one running answer."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._running: dict[str, asyncio.Task[StoredAnswer]] = {}

    async def create(self, workspace: str) -> Conversation:
        """Create an empty conversation."""
        return await asyncio.to_thread(self._store.create, workspace)

    async def list(self, workspace: str, query: str = "") -> list[ConversationSummary]:
        """Return the conversations of a workspace that contain a query's words, newest first."""
        return await asyncio.to_thread(self._store.list, workspace, query)

    async def rename(self, id_: str, title: str) -> str:
        """Give a conversation another title and return it; raises RequestError."""
        return await asyncio.to_thread(self._store.rename, id_, title)

    async def get(self, id_: str) -> Conversation:
        """Return a conversation; raises RequestError if it does not exist."""
        return await asyncio.to_thread(self._store.get, id_)

    async def delete(self, id_: str) -> None:
        """Stop the running answer of a conversation and delete the conversation."""
        await self.stop(id_)
        await asyncio.to_thread(self._store.delete, id_)

    async def clear(self, workspace: str) -> None:
        """Stop all running answers and delete all conversations of a workspace."""
        for id_ in tuple(self._running):
            await self.stop(id_)
        await asyncio.to_thread(self._store.clear, workspace)

    async def export(self, id_: str) -> str:
        """Return a conversation in markdown."""
        return to_markdown(await self.get(id_))

    async def send(
        self,
        id_: str,
        text: str,
        attachments: Sequence[Attachment],
        asker: Asker,
        on_text: OnText,
    ) -> StoredAnswer:
        """Add a message of the user and return the answer.

        The message and the answer are stored, also if the answer is stopped or fails, or if no
        engine answers. Then `retry` answers the message. Raises RequestError for an empty message,
        for an unknown slash command and for a conversation with a running answer,
        PromptTooLongError for a message that does not fit the model's window. Then nothing is
        stored.
        """
        _check_text(text)
        question = new_turn("user", text, attachments)
        return await self._answer(id_, asker, on_text, lambda answer: answer.to_question(question))

    async def retry(self, id_: str, asker: Asker, on_text: OnText) -> StoredAnswer:
        """Answer the last message of the user. The new answer replaces the previous one."""
        return await self._answer(id_, asker, on_text, AnswerInProgress.again)

    async def continue_answer(self, id_: str, asker: Asker, on_text: OnText) -> StoredAnswer:
        """Continue the last answer where it ends; the turn keeps its id.

        `on_text` receives only what is new. Raises RequestError if there is no unfinished answer.
        """
        return await self._answer(id_, asker, on_text, AnswerInProgress.continued)

    async def edit(
        self, id_: str, turn_id: str, text: str, asker: Asker, on_text: OnText
    ) -> StoredAnswer:
        """Replace a message of the user, delete all turns after it, and answer it."""
        _check_text(text)
        turns = (await self.get(id_)).turns
        attachments = next((turn.attachments for turn in turns if turn.id == turn_id), ())
        question = new_turn("user", text, attachments)
        return await self._answer(
            id_, asker, on_text, lambda answer: answer.to_question(question, turn_id)
        )

    async def stop(self, id_: str) -> None:
        """Stop the running answer of a conversation, if any. The text so far is stored."""
        task = self._running.get(id_)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _answer(
        self,
        id_: str,
        asker: Asker,
        on_text: OnText,
        work: Callable[[AnswerInProgress], Coroutine[Any, Any, StoredAnswer]],
    ) -> StoredAnswer:
        if id_ in self._running:
            raise RequestError("This conversation is being answered. Stop the answer first.")
        answer = AnswerInProgress(self._store, id_, asker, on_text)
        task = self._running[id_] = asyncio.create_task(work(answer))
        task.add_done_callback(lambda _: self._running.pop(id_))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Either `stop` has cancelled the task, or our caller is cancelled: stop the task, too.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            return answer.finish("stopped", None)


def _check_text(text: str) -> None:
    if not text.strip():
        raise RequestError("The message is empty. Write a question first.")
    parse_slash(text)


_SPEAKERS = {"user": "You", "assistant": "StarCoder", "system": "System"}
_STATES = {"stopped": "*(stopped)*", "cut off": "*(cut off)*", "failed": "*(broken off)*"}


def to_markdown(conversation: Conversation) -> str:
    """Return a conversation as a markdown document."""
    parts = [f"# {conversation.title or 'Conversation'}"]
    for turn in conversation.turns:
        parts.append(f"## {_SPEAKERS.get(turn.role, turn.role)}")
        parts.append(with_attachments(turn.content, turn.attachments))
        if state := _STATES.get(turn.state):
            parts.append(state)
    return "\n\n".join(parts) + "\n"
