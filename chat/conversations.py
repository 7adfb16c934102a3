"""Conversations with the model: send, stop, retry and edit messages, and store the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from chat.asker import Asker
from chat.attachments import Attachment, with_attachments
from chat.slash import expand
from chat.store import (
    Conversation,
    ConversationStore,
    ConversationSummary,
    Turn,
    TurnState,
    new_turn,
)
from engine.api import FinishReason, Message, Usage
from engine.errors import RequestError

OnText = Callable[[str], None]
"""Function that receives each piece of an answer while it is generated."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer of the assistant as it was stored."""

    turn: Turn
    usage: Usage | None
    """None if the answer was stopped or failed, or if the model repeated itself."""
    num_left_out: int
    """Number of turns that were left out because they did not fit the model's window."""


class Conversations:
    """The conversations of one editor window. Each can have one running answer."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._running: dict[str, asyncio.Task[StoredAnswer]] = {}

    async def create(self, workspace: str) -> Conversation:
        """Create an empty conversation."""
        return await asyncio.to_thread(self._store.create, workspace)

    async def list(self, workspace: str) -> list[ConversationSummary]:
        """Return the conversations of a workspace, newest first."""
        return await asyncio.to_thread(self._store.list, workspace)

    async def get(self, id_: str) -> Conversation:
        """Return a conversation; raises RequestError if it does not exist."""
        return await asyncio.to_thread(self._store.get, id_)

    async def delete(self, id_: str) -> None:
        """Stop the running answer of a conversation and delete the conversation."""
        await self.stop(id_)
        await asyncio.to_thread(self._store.delete, id_)

    async def clear(self, workspace: str) -> None:
        """Delete all conversations of a workspace."""
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

        The message and the answer are stored, also if the answer is stopped or fails. Raises
        RequestError for an empty message and for a conversation with a running answer,
        PromptTooLongError for a message that does not fit the model's window. Then nothing is
        stored.
        """
        _check_text(text)
        conversation = await self.get(id_)
        question = new_turn("user", text, attachments)
        turns = (*conversation.turns, question)
        return await self._answer(conversation.id, turns, asker, on_text)

    async def retry(self, id_: str, asker: Asker, on_text: OnText) -> StoredAnswer:
        """Answer the last message of the user again. The previous answer is deleted."""
        turns = (await self.get(id_)).turns
        questions = [index for index, turn in enumerate(turns) if turn.role == "user"]
        if not questions:
            raise RequestError("This conversation has no message yet. Send one first.")
        return await self._answer(id_, turns[: questions[-1] + 1], asker, on_text)

    async def edit(
        self, id_: str, turn_id: str, text: str, asker: Asker, on_text: OnText
    ) -> StoredAnswer:
        """Replace a message of the user, delete all turns after it, and answer it."""
        _check_text(text)
        turns = (await self.get(id_)).turns
        for index, turn in enumerate(turns):
            if turn.id == turn_id and turn.role == "user":
                question = new_turn("user", text, turn.attachments)
                return await self._answer(id_, (*turns[:index], question), asker, on_text)
        raise RequestError("There is no such message of yours in this conversation.")

    async def stop(self, id_: str) -> None:
        """Stop the running answer of a conversation, if any. The text so far is stored."""
        task = self._running.get(id_)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _answer(
        self, id_: str, turns: tuple[Turn, ...], asker: Asker, on_text: OnText
    ) -> StoredAnswer:
        if id_ in self._running:
            raise RequestError("This conversation is being answered. Stop the answer first.")
        answer = _AnswerInProgress(self._store, id_, turns, asker, on_text)
        task = asyncio.create_task(answer.run())
        self._running[id_] = task
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
        finally:
            del self._running[id_]


def _check_text(text: str) -> None:
    if not text.strip():
        raise RequestError("The message is empty. Write a question first.")


class _AnswerInProgress:
    """An answer that is being generated."""

    def __init__(
        self,
        store: ConversationStore,
        id_: str,
        turns: tuple[Turn, ...],
        asker: Asker,
        on_text: OnText,
    ) -> None:
        self._store, self._id, self._turns = store, id_, turns
        self._asker, self._on_text = asker, on_text
        self._text = ""
        self._num_left_out = 0
        self._answer: StoredAnswer | None = None

    async def run(self) -> StoredAnswer:
        """Generate and store the answer, also if it is cancelled or fails."""
        messages = [_message_of(turn) for turn in self._turns]
        chat = await self._asker.prepare(messages)
        self._num_left_out = chat.num_left_out
        await asyncio.to_thread(self._store_question)
        state: TurnState = "failed"
        usage: Usage | None = None
        try:
            async with aclosing(self._asker.stream(chat)) as chunks:
                async for chunk in chunks:
                    self._text += chunk.text
                    if chunk.text:
                        self._on_text(chunk.text)
                    if chunk.finish is not None:
                        state = "cut off" if chunk.finish is FinishReason.LENGTH else "whole"
                        usage = chunk.usage
        except asyncio.CancelledError:
            state = "stopped"
            raise
        finally:
            turn = self.finish(state, usage).turn
            if turn.content or state == "whole":
                await asyncio.shield(asyncio.to_thread(self._store.add, self._id, turn))
        return self.finish(state, usage)

    def finish(self, state: TurnState, usage: Usage | None) -> StoredAnswer:
        """Return the answer. Only the first call decides its text and state."""
        if self._answer is None:
            turn = new_turn("assistant", self._text.strip(), state=state)
            self._answer = StoredAnswer(turn, usage, self._num_left_out)
        return self._answer

    def _store_question(self) -> None:
        """Store the new turns, and delete the stored turns that they replace."""
        stored = self._store.get(self._id).turns
        num_equal = 0
        for old, new in zip(stored, self._turns, strict=False):
            if old.id != new.id:
                break
            num_equal += 1
        if num_equal < len(stored):
            self._store.delete_from(self._id, stored[num_equal].id)
        for turn in self._turns[num_equal:]:
            self._store.add(self._id, turn)


def _message_of(turn: Turn) -> Message:
    """Return the message that the model gets for a turn."""
    text = expand(turn.content) if turn.role == "user" else turn.content
    return Message(turn.role, with_attachments(text, turn.attachments))


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
