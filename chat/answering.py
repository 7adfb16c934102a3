"""One answer of a conversation: generated, and stored while it grows.

Nothing that was typed or generated is lost if the engine, the server or the editor ends:

- A question is stored before the engine is asked, which may have to load its model first.
- A partial answer is stored every few seconds, as `failed` until it ends.
- An old answer is deleted only when the new one has text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from chat.asker import Asker, PreparedChat
from chat.attachments import with_attachments
from chat.slash import expand
from chat.store import ConversationStore
from chat.turns import Turn, TurnState, new_turn
from engine.api import FinishReason, Message, Usage
from engine.errors import PromptTooLongError, RequestError

OnText = Callable[[str], None]
"""Function that receives each piece of an answer while it is generated."""

T = TypeVar("T")

_SAVE_SECONDS = 3.0
"""Time after which a growing answer is stored again."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer of the assistant as it was stored."""

    turn: Turn
    usage: Usage | None
    """None if the answer was stopped or failed, or if the model repeated itself."""
    num_left_out: int
    """Number of turns that were left out because they did not fit the model's window."""


class AnswerInProgress:
    """An answer that is being generated. Call one of its methods, once."""

    def __init__(
        self, store: ConversationStore, conversation: str, asker: Asker, on_text: OnText
    ) -> None:
        self._store, self._id = store, conversation
        self._asker, self._on_text = asker, on_text
        self._turn = new_turn("assistant", "")
        """The answer as it was before: empty, or the answer that is continued."""
        self._replaced: str | None = None
        """Id of the first stored turn that the answer replaces."""
        self._text = ""
        self._num_left_out = 0
        self._answer: StoredAnswer | None = None

    async def to_question(self, question: Turn, edited: str | None = None) -> StoredAnswer:
        """Store and answer a question. It replaces the turn `edited` and all turns after it.

        Raises RequestError, and PromptTooLongError for a question that does not fit the model's
        window. Then the conversation is as it was before.
        """
        turns = await self._stored_turns()
        index = len(turns)
        if edited is not None:
            index = next((i for i, turn in enumerate(turns) if _is_question(turn, edited)), -1)
        if index < 0:
            raise RequestError("There is no such message of yours in this conversation.")
        await _to_the_end(self._store.replace, self._id, edited, [question])
        try:
            chat = await self._asker.prepare(_messages([*turns[:index], question]))
        except RequestError:
            await _to_the_end(self._store.replace, self._id, question.id, turns[index:])
            raise
        return await self._generate(chat)

    async def again(self) -> StoredAnswer:
        """Answer the last question, in place of its previous answer. Raises RequestError."""
        turns = await self._stored_turns()
        questions = [index for index, turn in enumerate(turns) if turn.role == "user"]
        if not questions:
            raise RequestError("This conversation has no message yet. Send one first.")
        end = questions[-1] + 1
        chat = await self._asker.prepare(_messages(turns[:end]))
        self._replaced = next((turn.id for turn in turns[end:]), None)
        return await self._generate(chat)

    async def continued(self) -> StoredAnswer:
        """Continue the last answer where it ends. Raises RequestError if the model ended it."""
        turns = await self._stored_turns()
        last = turns[-1] if turns else None
        if last is None or last.role != "assistant" or not last.content:
            raise RequestError("There is no answer to continue. Ask again.")
        if last.state == "whole":
            raise RequestError("The last answer is complete. Ask for more in a new message.")
        self._turn, self._text = last, last.content
        try:
            chat = await self._asker.prepare(_messages(turns[:-1]), last.content)
        except PromptTooLongError:
            raise PromptTooLongError(
                "The answer is too long to be continued: with its question it does not fit the "
                "model's window. Ask for the rest in a new message."
            ) from None
        return await self._generate(chat)

    async def _generate(self, chat: PreparedChat) -> StoredAnswer:
        """Generate and store the answer, also if it is cancelled or fails."""
        self._num_left_out = chat.num_left_out
        self._turn = replace(self._turn, model=chat.model)
        state: TurnState = "failed"
        usage: Usage | None = None
        last_save = time.monotonic()
        try:
            async with aclosing(self._asker.stream(chat)) as chunks:
                async for chunk in chunks:
                    self._text += chunk.text
                    if chunk.text:
                        self._on_text(chunk.text)
                    if chunk.finish is not None:
                        state = "cut off" if chunk.finish is FinishReason.LENGTH else "whole"
                        usage = chunk.usage
                    elif time.monotonic() - last_save > _SAVE_SECONDS:
                        await self._save(self._turn_in("failed"))
                        last_save = time.monotonic()
        except asyncio.CancelledError:
            state = "stopped"
            raise
        finally:
            turn = self.finish(state, usage).turn
            if turn.content or state == "whole":
                await self._save(turn)
        return self.finish(state, usage)

    def finish(self, state: TurnState, usage: Usage | None) -> StoredAnswer:
        """Return the answer. Only the first call decides its text and state."""
        if self._answer is None:
            self._answer = StoredAnswer(self._turn_in(state), usage, self._num_left_out)
        return self._answer

    def _turn_in(self, state: TurnState) -> Turn:
        content = self._text.strip()
        if content == self._turn.content and content and state in ("stopped", "failed"):
            return self._turn  # a continuation that has added nothing
        return replace(self._turn, content=content, state=state)

    async def _stored_turns(self) -> tuple[Turn, ...]:
        return (await asyncio.to_thread(self._store.get, self._id)).turns

    async def _save(self, turn: Turn) -> None:
        replaced, self._replaced = self._replaced, None
        if replaced is None:
            await _to_the_end(self._store.save, self._id, turn)
        else:
            await _to_the_end(self._store.replace, self._id, replaced, [turn])


async def _to_the_end(work: Callable[..., T], *arguments: object) -> T:
    """Return the result of a function that runs in a thread.

    If the caller is cancelled, the function has ended when CancelledError is raised. So two changes
    of a conversation never overlap.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        raise


def _is_question(turn: Turn, id_: str) -> bool:
    return turn.id == id_ and turn.role == "user"


def _messages(turns: Sequence[Turn]) -> list[Message]:
    """Return what the model gets for turns.

    Questions that follow each other become one message, because many chat templates want a message
    of the assistant between two of the user. Equal ones are not repeated.
    """
    messages: list[Message] = []
    for message in map(_message_of, turns):
        last = messages[-1] if messages else None
        if last is None or last.role != message.role:
            messages.append(message)
        elif last.content != message.content:
            messages[-1] = Message(message.role, f"{last.content}\n\n{message.content}")
    return messages


def _message_of(turn: Turn) -> Message:
    text = expand(turn.content) if turn.role == "user" else turn.content
    return Message(turn.role, with_attachments(text, turn.attachments))
