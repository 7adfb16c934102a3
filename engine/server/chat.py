"""`POST /v1/chat/completions`. What a dialogue looks like as ids is told by a function given us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.api import (
    Chunk,
    Engine,
    FinishReason,
    GenerationRequest,
    Message,
    Priority,
    RenderedChat,
)
from engine.errors import RequestError
from engine.server import wire
from engine.server.responses import adapter_name, parse, streamed, unless_gone, whole
from engine.server.schema import ChatRequest
from engine.tokenizer import Tokenizer

RenderChat = Callable[[Sequence[Message], Tokenizer, str], RenderedChat]
"""Turns messages into prompt ids, given the tokenizer and the model's own chat template.

Raises RequestError for a dialogue that cannot be answered.
"""


async def chat_completions(request: Request) -> Response:
    """Answer one chat request."""
    asked = await parse(request, ChatRequest)
    engine: Engine = request.app.state.engine
    render: RenderChat | None = request.app.state.render_chat
    if render is None:
        raise RequestError("This engine was started without a chat renderer (--chat-renderer).")
    info = await unless_gone(request, engine.info())
    asked = asked.model_copy(update={"adapter": adapter_name(info, asked)})
    tokenizer = await engine.tokenizer(asked.adapter)
    messages = [Message(message.role, message.text) for message in asked.messages]
    rendered = await asyncio.to_thread(render, messages, tokenizer, info.chat_template)
    stream = engine.stream(_generation(asked, rendered))
    if asked.stream:
        return await _stream(request, asked, tokenizer, stream, info.model)
    answer = await unless_gone(request, whole(stream))
    choice: dict[str, Any] = {
        "index": 0,
        # The newline that the format puts after the role is the model's to write, not to say.
        "message": {"role": "assistant", "content": answer.text.lstrip(), "refusal": None},
        "finish_reason": answer.finish,
        "logprobs": wire.chat_logprobs(answer.logprobs, tokenizer) if asked.logprobs else None,
    }
    envelope = wire.Envelope("chat.completion", "chatcmpl", info.model)
    return JSONResponse(envelope.of([choice], answer.usage))


def _generation(asked: ChatRequest, rendered: RenderedChat) -> GenerationRequest:
    return GenerationRequest(
        prompt=rendered.ids,
        max_new_tokens=asked.limit,
        stop_ids=rendered.stop_ids | frozenset(asked.stop_token_ids),
        stop_text=(*rendered.stop_text, *asked.stop),
        sampling=asked.sampling,
        priority=asked.priority_or(Priority.CHAT),
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        adapter=asked.adapter,
        draft_tokens=tuple(asked.draft_tokens),
        forced_prefix=asked.forced_prefix,
        single_line=asked.single_line,
        continue_line_after=tuple(asked.continue_line_after),
    )


async def _stream(
    request: Request, asked: ChatRequest, tokenizer: Tokenizer, stream: Any, model: str
) -> Response:
    envelope = wire.Envelope("chat.completion.chunk", "chatcmpl", model)
    begun = False

    def choice(delta: dict[str, Any], finish: FinishReason | None, scores: Any) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": scores}

    async def write(chunk: Chunk) -> AsyncIterator[dict[str, Any]]:
        nonlocal begun
        text = chunk.text if begun else chunk.text.lstrip()
        if not begun:
            yield envelope.of([choice({"role": "assistant", "content": ""}, None, None)])
        begun = begun or bool(text)
        scores = wire.chat_logprobs(chunk.logprobs, tokenizer) if asked.logprobs else None
        yield envelope.of([choice({"content": text} if text else {}, chunk.finish, scores)])
        if chunk.usage is not None and asked.wants_usage:
            yield envelope.of([], chunk.usage)

    return await streamed(request, stream, write)
