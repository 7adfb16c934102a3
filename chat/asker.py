"""Ask the engine with chat messages. Conversations and tasks both use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from chat.pieces import Piece, encode
from chat.rendering import FormatName, choose_format, render
from chat.repetition import LoopDetector, without_loop
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
"""The sampling of conversations.

It is that of StarChat's own sample generation (bigcode-project/starcoder, chat/generate.py),
without its repetition penalty of 1.2, because code repeats itself for good reason.
"""

GREEDY = Sampling()
"""The sampling of tasks."""

_COMMIT_TOKENS = ("<commit_before>", "<commit_msg>", "<commit_after>")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Settings of chat and tasks."""

    system: str = ""
    """The system message of every dialogue. If it is empty, there is none."""
    format_name: FormatName | None = None
    """The chat format. None chooses it by the model."""
    adapter: str | None = None
    """Name of the LoRA adapter that answers."""
    max_new_tokens: int = 768


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A rendered dialogue that fits the model's window."""

    rendered: RenderedChat
    max_new_tokens: int
    num_left_out: int
    """Number of messages that were left out because they did not fit."""
    sampling: Sampling
    continues_answer: bool
    """Whether the output continues text of the prompt, so that white space before it counts."""
    begin: str
    """The beginning of the answer, with which the prompt ends."""
    model: str
    """Name of the model that answers."""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """The model that answers, and the format of its prompts."""

    name: str
    format_name: FormatName
    context_window: int

    @property
    def knows_dialogues(self) -> bool:
        """Whether the model was trained on dialogues, judging by its tokens and files."""
        return self.format_name != "plain"


@dataclass(frozen=True, slots=True)
class FinishedAnswer:
    """The answer to a task's prompt."""

    text: str
    """The generated text, without the beginning that was in the prompt."""
    is_complete: bool
    """Whether the model ended the answer. If not, it reached the maximum length."""


OnPartial = Callable[[str, bool], None]
"""Function that receives each piece of a partial answer, and whether it begins a new answer."""

OnStage = Callable[[str], None]
"""Function that receives what a task does now, as a phrase for the user: "writing tests"."""


class Asker:
    """Asks one engine with one set of settings."""

    def __init__(
        self,
        engine: Engine,
        settings: ChatSettings | None = None,
        on_partial: OnPartial = lambda piece, begins: None,
    ) -> None:
        self._engine, self._settings = engine, settings or ChatSettings()
        self._on_partial = on_partial

    def without_partial_answers(self) -> Asker:
        """Return an asker of the same engine whose partial answers nobody receives."""
        return Asker(self._engine, self._settings)

    async def prepare(
        self, messages: Sequence[Message], begin: str = "", sampling: Sampling = CONVERSATION
    ) -> PreparedChat:
        """Render a dialogue. Messages in its middle are left out if it is too long.

        `begin` is the beginning of the answer, which the model continues. Raises RequestError,
        PromptTooLongError, and the engine's errors.
        """
        info = await self._engine.info()
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        max_new_tokens = min(self._settings.max_new_tokens, info.context_window // 2)
        max_prompt_tokens = info.context_window - max_new_tokens
        format_name = self._settings.format_name
        system = [Message("system", self._settings.system)] if self._settings.system else []

        def rendered(some: Sequence[Message]) -> RenderedChat:
            return render(some, tokenizer, info.chat_template, format_name, begin)

        def prepare() -> PreparedChat:
            fitted = fit_messages(
                [*system, *messages], max_prompt_tokens, lambda some: len(rendered(some).ids)
            )
            return PreparedChat(
                rendered(fitted.messages),
                max_new_tokens,
                fitted.num_left_out,
                sampling,
                continues_answer=bool(begin),
                begin=begin,
                model=info.model,
            )

        return await asyncio.to_thread(prepare)

    async def model(self) -> ChatModel:
        """Return the model that answers. Raises the engine's errors."""
        info = await self._engine.info()
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        format_name = self._settings.format_name or choose_format(tokenizer, info.chat_template)
        return ChatModel(info.model, format_name, info.context_window)

    async def room(self) -> int:
        """Return the number of tokens that a message and its attachments may have."""
        window = (await self._engine.info()).context_window
        around = await self.prepare([Message("user", "")])
        return max(0, window - around.max_new_tokens - len(around.rendered.ids))

    async def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        return len(await asyncio.to_thread(tokenizer.encode, text))

    async def stream(self, chat: PreparedChat) -> AsyncGenerator[Chunk, None]:
        """Yield the answer in chunks, without the white space that the format puts before it.

        If the model repeats itself again and again (`chat.repetition`), the request is cancelled
        and the answer ends with the finish reason STOP, usually without `usage`. What was yielded
        until then stays part of the answer.
        """
        request = GenerationRequest(
            prompt=chat.rendered.ids,
            max_new_tokens=chat.max_new_tokens,
            stop_ids=chat.rendered.stop_ids,
            stop_text=chat.rendered.stop_text,
            sampling=chat.sampling,
            priority=Priority.CHAT,
            adapter=self._settings.adapter,
        )
        has_text, offset, detector = chat.continues_answer, len(chat.begin), LoopDetector()
        if detector.feed(chat.begin) is not None:
            offset, detector = 0, LoopDetector()
        async with aclosing(self._engine.stream(request)) as chunks:
            async for chunk in chunks:
                text = chunk.text if has_text else chunk.text.lstrip()
                has_text = has_text or bool(text)
                if (loop := detector.feed(text)) is not None:
                    yield replace(chunk, text=text[: loop.end - offset], finish=FinishReason.STOP)
                    return
                offset += len(text)
                yield replace(chunk, text=text)

    async def ask(
        self,
        messages: Sequence[Message],
        begin: str = "",
        sampling: Sampling = GREEDY,
        stop: tuple[str, ...] = (),
    ) -> FinishedAnswer:
        """Return the answer after its beginning `begin`, up to one of the strings in `stop`."""
        chat = await self.prepare(messages, begin, sampling)
        stop_text = (*chat.rendered.stop_text, *stop)
        chat = replace(chat, rendered=replace(chat.rendered, stop_text=stop_text))
        self._on_partial(begin, True)
        return await self._finish(chat)

    async def _finish(self, chat: PreparedChat) -> FinishedAnswer:
        """Collect an answer. If the model repeats itself, the repeats are left out."""
        text, is_complete = "", False
        async with aclosing(self.stream(chat)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                self._on_partial(chunk.text, False)
                is_complete = chunk.finish is FinishReason.STOP
        return FinishedAnswer(without_loop(text), is_complete)

    async def needs_commit_format(self) -> bool:
        """Whether the model has StarCoder's commit tokens but was not trained on dialogues."""
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        has_tokens = all(tokenizer.special_id(token) is not None for token in _COMMIT_TOKENS)
        return has_tokens and not (await self.model()).knows_dialogues

    async def ask_commit(self, before: str, message: str) -> FinishedAnswer:
        """Return the code after a commit with that message (Li et al. 2023)."""
        info = await self._engine.info()
        tokenizer = await self._engine.tokenizer(self._settings.adapter)
        pieces = [
            Piece(_COMMIT_TOKENS[0], is_special=True),
            Piece(before),
            Piece(_COMMIT_TOKENS[1], is_special=True),
            Piece(message),
            Piece(_COMMIT_TOKENS[2], is_special=True),
        ]
        ids = (await asyncio.to_thread(encode, pieces, tokenizer)).ids
        max_new_tokens = min(self._settings.max_new_tokens, info.context_window // 2)
        max_prompt_tokens = info.context_window - max_new_tokens
        if len(ids) > max_prompt_tokens:
            raise PromptTooLongError(
                f"The selected lines have {len(ids)} tokens, and there is room for "
                f"{max_prompt_tokens}. Select fewer lines."
            )
        end_ids = (tokenizer.special_id(token) for token in (*_COMMIT_TOKENS, END_OF_TEXT))
        stop_ids = frozenset(id_ for id_ in end_ids if id_ is not None)
        rendered = RenderedChat(ids, stop_ids, ())
        self._on_partial("", True)
        return await self._finish(
            PreparedChat(rendered, max_new_tokens, 0, GREEDY, True, "", info.model)
        )
