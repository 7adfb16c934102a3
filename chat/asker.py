"""From messages to a stream of text: what a conversation and a task both ask the engine by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from chat.pieces import Piece, encode
from chat.rendering import FormatName, choose_format, render
from chat.window import fit_messages
from engine.api import (
    Chunk,
    Engine,
    FinishReason,
    GenerationRequest,
    Message,
    Priority,
    RenderedChat,
    Sampling,
)
from engine.errors import PromptTooLongError
from engine.tokenizer import END_OF_TEXT

CONVERSATION = Sampling(temperature=0.2, top_p=0.95, top_k=50)
"""As StarChat's own sample generation draws (bigcode-project/starcoder, chat/generate.py), without
its repetition penalty of 1.2: code repeats itself for good reason."""

GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How the model is talked to."""

    system: str = ""
    """System message of every dialogue; empty is none."""
    format_name: FormatName | None = None
    """None is what the model knows."""
    adapter: str | None = None
    max_new_tokens: int = 768


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A dialogue that fits the model's window."""

    rendered: RenderedChat
    max_new_tokens: int
    """Tokens that an answer may have."""
    num_left_out: int
    """Turns that did not fit."""
    sampling: Sampling
    continues_answer: bool
    """Whether the answer's beginning is given."""


@dataclass(frozen=True, slots=True)
class FinishedAnswer:
    """A finished answer."""

    text: str
    is_complete: bool
    """Whether it ended by itself rather than at the longest length."""


OnPartial = Callable[[str, bool], None]
"""Takes a piece of an answer that is not judged yet, and whether a draft begins with it."""


class Asker:
    """Asks one engine in one way."""

    def __init__(
        self,
        engine: Engine,
        settings: ChatSettings | None = None,
        on_partial: OnPartial = lambda piece, begins: None,
    ) -> None:
        self._engine, self._settings = engine, settings or ChatSettings()
        self._on_partial = on_partial

    async def prepare(
        self, messages: Sequence[Message], answer: str = "", sampling: Sampling = CONVERSATION
    ) -> PreparedChat:
        """Render a dialogue, leaving out turns of its middle that do not fit.

        `answer` is how the answer begins, for the model to go on with. Raises RequestError,
        PromptTooLongError, or what the engine raises.
        """
        info = await self._engine.info()
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        room = min(self._settings.max_new_tokens, info.context_window // 2)
        system = [Message("system", self._settings.system)] if self._settings.system else []

        def rendered(some: Sequence[Message]) -> RenderedChat:
            name = self._settings.format_name
            return render(some, tokenizer, info.chat_template, name, answer)

        def prepare() -> PreparedChat:
            budget = info.context_window - room
            fitted = fit_messages(
                [*system, *messages], budget, lambda some: len(rendered(some).ids)
            )
            ids = rendered(fitted.messages)
            return PreparedChat(ids, room, fitted.num_left_out, sampling, bool(answer))

        return await asyncio.to_thread(prepare)

    async def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        return len(await asyncio.to_thread(tokenizer.encode, text))

    async def stream(self, asked: PreparedChat) -> AsyncGenerator[Chunk, None]:
        """Yield the answer, without the white space that the format puts before it."""
        request = GenerationRequest(
            prompt=asked.rendered.ids,
            max_new_tokens=asked.max_new_tokens,
            stop_ids=asked.rendered.stop_ids,
            stop_text=asked.rendered.stop_text,
            sampling=asked.sampling,
            priority=Priority.CHAT,
            adapter=self._settings.adapter,
        )
        begun = asked.continues_answer
        async with aclosing(self._engine.stream(request)) as chunks:
            async for chunk in chunks:
                text = chunk.text if begun else chunk.text.lstrip()
                begun = begun or bool(text)
                yield replace(chunk, text=text)

    async def ask(
        self,
        messages: Sequence[Message],
        answer: str = "",
        sampling: Sampling = GREEDY,
        stop: tuple[str, ...] = (),
    ) -> FinishedAnswer:
        """Return the answer behind its beginning, up to one of the strings in `stop`."""
        asked = await self.prepare(messages, answer, sampling)
        rendered = replace(asked.rendered, stop_text=(*asked.rendered.stop_text, *stop))
        self._on_partial(answer, True)
        return await self._whole(replace(asked, rendered=rendered))

    async def _whole(self, asked: PreparedChat) -> FinishedAnswer:
        text, whole = "", False
        async with aclosing(self.stream(asked)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                self._on_partial(chunk.text, False)
                whole = chunk.finish is FinishReason.STOP
                if "\n" in chunk.text and (end := end_before_loop(text)) is not None:
                    return FinishedAnswer(text[:end], is_complete=True)
        return FinishedAnswer(text, whole)

    async def knows_commits_only(self) -> bool:
        """Whether the model never saw a dialogue but knows StarCoder's commits."""
        info = await self._engine.info()
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        name = self._settings.format_name or choose_format(tokenizer, info.chat_template)
        known = all(tokenizer.special_id(token) is not None for token in _COMMIT_TOKENS)
        return known and name == "plain"

    async def commit(self, before: str, message: str) -> FinishedAnswer:
        """Return code as a commit with that message would leave it (Li et al. 2023)."""
        info = await self._engine.info()
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        pieces = [
            Piece(_COMMIT_TOKENS[0], special=True),
            Piece(before),
            Piece(_COMMIT_TOKENS[1], special=True),
            Piece(message),
            Piece(_COMMIT_TOKENS[2], special=True),
        ]
        ids = (await asyncio.to_thread(encode, pieces, tokenizer)).ids
        room = min(self._settings.max_new_tokens, info.context_window // 2)
        if len(ids) > info.context_window - room:
            raise PromptTooLongError(
                f"These lines take {len(ids)} tokens, and there is room for "
                f"{info.context_window - room}. Select fewer."
            )
        ends = {tokenizer.special_id(token) for token in (*_COMMIT_TOKENS, END_OF_TEXT)}
        stop = frozenset(id_ for id_ in ends if id_ is not None)
        self._on_partial("", True)
        return await self._whole(
            PreparedChat(RenderedChat(ids, stop, ()), room, 0, GREEDY, continues_answer=True)
        )


_COMMIT_TOKENS = ("<commit_before>", "<commit_msg>", "<commit_after>")
_LONGEST_LOOP, _TIMES = 4, 3


def end_before_loop(text: str) -> int | None:
    """Return where a text's last lines began to repeat, behind their first time, or None.

    What a small model says three times it says for ever.
    """
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    for size in range(1, _LONGEST_LOOP + 1):
        last = lines[-size:]
        if len(lines) < size * _TIMES or not "".join(last).strip():
            continue
        if lines[-size * _TIMES :] == last * _TIMES:
            return len("".join(lines[: -size * (_TIMES - 1)]))
    return None
