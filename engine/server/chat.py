"""`POST /v1/chat/completions`. The function that renders conversations is passed to the app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

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
from engine.server.responses import (
    adapter_name,
    cancel_on_disconnect,
    collect,
    event_stream,
    parse_body,
)
from engine.server.schema import ChatBody
from engine.server.wire import JsonObject
from engine.tokenizer import Tokenizer

RenderChat = Callable[[Sequence[Message], Tokenizer, str], RenderedChat]
"""Function that renders messages to prompt ids, with the tokenizer and the model's chat template.

Raises RequestError for a conversation that the model cannot continue.
"""


async def chat_completions(request: Request) -> Response:
    """Answer one chat request."""
    body = await parse_body(request, ChatBody)
    engine: Engine = request.app.state.engine
    render: RenderChat | None = request.app.state.render_chat
    if render is None:
        raise RequestError("This engine was started without a chat renderer (--chat-renderer).")
    info = await cancel_on_disconnect(request, engine.info())
    body = body.model_copy(update={"adapter": adapter_name(info, body)})
    tokenizer = await engine.tokenizer(body.adapter)
    messages = [Message(message.role, message.text) for message in body.messages]
    rendered = await asyncio.to_thread(render, messages, tokenizer, info.chat_template)
    chunks = engine.stream(_generation_request(body, rendered))
    if body.stream:
        return await _stream(request, body, tokenizer, chunks, info.model)
    output = await cancel_on_disconnect(request, collect(chunks))
    choice: JsonObject = {
        "index": 0,
        # The model generates the newline that the format puts after the role.
        "message": {"role": "assistant", "content": output.text.lstrip(), "refusal": None},
        "finish_reason": output.finish,
        "logprobs": wire.chat_logprobs(output.logprobs, tokenizer) if body.logprobs else None,
    }
    builder = wire.ResponseBuilder("chat.completion", "chatcmpl", info.model)
    return JSONResponse(builder.build([choice], output.usage))


def _generation_request(body: ChatBody, rendered: RenderedChat) -> GenerationRequest:
    return GenerationRequest(
        prompt=rendered.ids,
        max_new_tokens=body.max_new_tokens,
        stop_ids=rendered.stop_ids | frozenset(body.stop_token_ids),
        stop_text=(*rendered.stop_text, *body.stop),
        sampling=body.sampling,
        priority=body.priority_or(Priority.CHAT),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        adapter=body.adapter,
        draft_tokens=tuple(body.draft_tokens),
        forced_prefix=body.forced_prefix,
        single_line=body.single_line,
        continue_line_after=tuple(body.continue_line_after),
    )


async def _stream(
    request: Request,
    body: ChatBody,
    tokenizer: Tokenizer,
    chunks: AsyncGenerator[Chunk, None],
    model: str,
) -> Response:
    builder = wire.ResponseBuilder("chat.completion.chunk", "chatcmpl", model)
    has_text = False

    def choice(
        delta: JsonObject, finish: FinishReason | None = None, logprobs: JsonObject | None = None
    ) -> JsonObject:
        return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}

    async def events(chunk: Chunk) -> AsyncIterator[JsonObject]:
        nonlocal has_text
        text = chunk.text if has_text else chunk.text.lstrip()
        if not has_text:
            yield builder.build([choice({"role": "assistant", "content": ""})])
        has_text = has_text or bool(text)
        logprobs = wire.chat_logprobs(chunk.logprobs, tokenizer) if body.logprobs else None
        delta: JsonObject = {"content": text} if text else {}
        yield builder.build([choice(delta, chunk.finish, logprobs)])
        if chunk.usage is not None and body.include_usage:
            yield builder.build([], chunk.usage)

    return await event_stream(request, chunks, events)
