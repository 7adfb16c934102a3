"""Talking with the model: send, stop, retry, edit, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from chat.asker import Asker
from chat.attachments import Attachment, message
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
"""Called with each piece of an answer as it comes."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer, as it was kept."""

    turn: Turn
    usage: Usage | None
    """None where it was stopped."""
    num_left_out: int
    """Turns in the middle that did not fit the model's window."""


class Conversations:
    """The conversations of one editor window."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._answering: dict[str, asyncio.Task[StoredAnswer]] = {}

    async def create(self, workspace: str) -> Conversation:
        """Begin a conversation."""
        return await asyncio.to_thread(self._store.create, workspace)

    async def list(self, workspace: str) -> list[ConversationSummary]:
        """Return those of a workspace, newest first."""
        return await asyncio.to_thread(self._store.list, workspace)

    async def get(self, id_: str) -> Conversation:
        """Return one; raises RequestError."""
        return await asyncio.to_thread(self._store.get, id_)

    async def delete(self, id_: str) -> None:
        """Delete one, stopping what answers in it."""
        await self.stop(id_)
        await asyncio.to_thread(self._store.delete, id_)

    async def clear(self, workspace: str) -> None:
        """Delete all of a workspace."""
        await asyncio.to_thread(self._store.clear, workspace)

    async def export(self, id_: str) -> str:
        """Return a conversation as markdown."""
        return to_markdown(await self.get(id_))

    async def send(
        self,
        id_: str,
        text: str,
        attachments: Sequence[Attachment],
        asker: Asker,
        on_text: OnText,
    ) -> StoredAnswer:
        """Say something and return the answer, kept on disk whatever becomes of it.

        Raises RequestError for an empty message, for a conversation that is answering already, and
        for what does not fit the model's window; then nothing is kept.
        """
        if not text.strip():
            raise RequestError("The message is empty.")
        conversation = await self.get(id_)
        said = new_turn("user", text, attachments)
        return await self._answered(conversation.id, (*conversation.turns, said), asker, on_text)

    async def retry(self, id_: str, asker: Asker, on_text: OnText) -> StoredAnswer:
        """Answer the user's last message again, in place of the answer before."""
        turns = (await self.get(id_)).turns
        last = max((at for at, one in enumerate(turns) if one.role == "user"), default=None)
        if last is None:
            raise RequestError("Nothing was asked in this conversation yet.")
        return await self._answered(id_, turns[: last + 1], asker, on_text)

    async def edit(
        self, id_: str, turn: str, text: str, asker: Asker, on_text: OnText
    ) -> StoredAnswer:
        """Put another text in place of one of the user's, forget what came after, and answer."""
        if not text.strip():
            raise RequestError("The message is empty.")
        turns = (await self.get(id_)).turns
        at = next((at for at, one in enumerate(turns) if one.id == turn), None)
        if at is None or turns[at].role != "user":
            raise RequestError("There is no such message of yours in this conversation.")
        said = new_turn("user", text, turns[at].attachments)
        return await self._answered(id_, (*turns[:at], said), asker, on_text)

    async def stop(self, id_: str) -> None:
        """Stop the answer of a conversation; what was written is kept. Nothing if there is none."""
        task = self._answering.get(id_)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _answered(
        self, id_: str, turns: tuple[Turn, ...], asker: Asker, on_text: OnText
    ) -> StoredAnswer:
        if id_ in self._answering:
            raise RequestError("This conversation is being answered; stop that first.")
        work = _Answer(self._store, id_, turns, asker, on_text)
        task = asyncio.create_task(work.run())
        self._answering[id_] = task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Either somebody called `stop`, or our own caller is cancelled: the answer ends too.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            return work.kept("stopped", None)
        finally:
            del self._answering[id_]


class _Answer:
    """One answer on its way, and what is kept of it."""

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
        self._left_out = 0
        self._reply: StoredAnswer | None = None

    async def run(self) -> StoredAnswer:
        messages = [_said(turn) for turn in self._turns]
        asked = await self._asker.prepare(messages)
        self._left_out = asked.num_left_out
        await asyncio.to_thread(self._keep_question)
        state: TurnState = "failed"
        usage: Usage | None = None
        try:
            async with aclosing(self._asker.stream(asked)) as chunks:
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
            self.kept(state, usage)
            turn = self._reply.turn if self._reply else None
            if turn is not None and (turn.content or state == "whole"):
                await asyncio.shield(asyncio.to_thread(self._store.add, self._id, turn))
        return self.kept(state, usage)

    def kept(self, state: TurnState, usage: Usage | None) -> StoredAnswer:
        """Return the reply; the first call settles it."""
        if self._reply is None:
            turn = new_turn("assistant", self._text.strip(), state=state)
            self._reply = StoredAnswer(turn, usage, self._left_out)
        return self._reply

    def _keep_question(self) -> None:
        """Write the question, and forget what the conversation held from there on."""
        known = self._store.get(self._id).turns
        same = 0
        while same < min(len(known), len(self._turns)) and known[same].id == self._turns[same].id:
            same += 1
        if same < len(known):
            self._store.cut(self._id, known[same].id)
        for turn in self._turns[same:]:
            self._store.add(self._id, turn)


def _said(turn: Turn) -> Message:
    """Return a turn as the model reads it."""
    text = expand(turn.content) if turn.role == "user" else turn.content
    return Message(turn.role, message(text, turn.attachments))


_NAMES = {"user": "You", "assistant": "StarCoder", "system": "System"}
_ENDINGS = {"stopped": "*(stopped)*", "cut off": "*(cut off)*", "failed": "*(broken off)*"}


def to_markdown(conversation: Conversation) -> str:
    """Return a conversation as a markdown document."""
    parts = [f"# {conversation.title or 'Conversation'}"]
    for turn in conversation.turns:
        parts.append(f"## {_NAMES.get(turn.role, turn.role)}")
        parts.append(message(turn.content, turn.attachments))
        if ending := _ENDINGS.get(turn.state):
            parts.append(ending)
    return "\n\n".join(parts) + "\n"
