"""`POST /v1/chat/completions`. The function that renders conversations is passed to the app."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.api import (
    Chunk,
    Engine,
    GenerationRequest,
    Message,
    Priority,
    RenderedChat,
    TokenLogprob,
)
from engine.errors import RequestError
from engine.server import wire
from engine.server.bodies import check_scores, parse_body
from engine.server.fields import check_fields, report_ignored
from engine.server.model_names import adapter_of
from engine.server.prompts import RenderChat, render_messages
from engine.server.response_types import ChatCompletion, ChatLogprobs
from engine.server.responses import (
    cancel_on_disconnect,
    collect,
    event_stream,
    json_response,
)
from engine.server.schema import ChatBody
from engine.server.users.threads import in_thread
from engine.tokenizer import Tokenizer


async def chat_completions(request: Request) -> Response:
    """Answer one chat request."""
    body = await parse_body(request, ChatBody)
    ignored = check_fields(body.other_fields)
    if request.app.state.render_chat is None:
        raise RequestError("This engine was started without a chat renderer (--chat-renderer).")
    prepared = await cancel_on_disconnect(request, _prepare(request, body))
    if body.stream and not body.is_prefetch:
        return report_ignored(await _stream(request, prepared), ignored)
    answer = await cancel_on_disconnect(request, _answer(prepared))
    return report_ignored(await json_response(answer), ignored)


class _Prepared(NamedTuple):
    """A chat request whose prompt is rendered."""

    body: ChatBody
    tokenizer: Tokenizer
    chunks: AsyncGenerator[Chunk, None]
    model: str

    async def logprobs(self, scores: Sequence[TokenLogprob]) -> ChatLogprobs | None:
        """Return the log-probabilities of a response, None if they were not requested."""
        if not self.body.logprobs:
            return None
        return await in_thread(wire.chat_logprobs, scores, self.tokenizer)


async def _prepare(request: Request, body: ChatBody) -> _Prepared:
    engine: Engine = request.app.state.engine
    render: RenderChat = request.app.state.render_chat
    info = await engine.info()
    adapter = body.adapter or adapter_of(request, info, body.model)
    body = body.model_copy(update={"adapter": adapter})
    tokenizer = await engine.tokenizer(body.adapter)
    messages = [Message(message.role, message.text) for message in body.messages]
    rendered = await render_messages(render, messages, tokenizer, info)
    max_new_tokens = min(body.max_new_tokens, info.context_window)
    check_scores(max_new_tokens, body.top_logprobs if body.logprobs else None)
    chunks = engine.stream(_generation_request(body, rendered))
    return _Prepared(body, tokenizer, chunks, info.model)


async def _answer(prepared: _Prepared) -> ChatCompletion:
    output = await collect(prepared.chunks)
    builder = wire.ResponseBuilder("chat.completion", "chatcmpl", prepared.model)
    # The model generates the newline that the format puts after the role.
    text = "" if prepared.body.is_prefetch else output.text.lstrip()
    logprobs = await prepared.logprobs(output.logprobs)
    choice = wire.chat_choice(text, output.finish, logprobs)
    return builder.chat_completion([choice], output.usage)


def _generation_request(body: ChatBody, rendered: RenderedChat) -> GenerationRequest:
    return GenerationRequest(
        prompt=rendered.ids,
        max_new_tokens=body.max_new_tokens,
        stop_ids=rendered.stop_ids | frozenset(body.stop_token_ids),
        stop_text=(*rendered.stop_text, *body.stops),
        sampling=body.sampling,
        priority=body.priority_or(Priority.PREFETCH if body.is_prefetch else Priority.CHAT),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        adapter=body.adapter,
        draft_tokens=tuple(body.draft_tokens),
        memory=None if body.memory is None else body.memory.memory,
        forced_prefix=body.forced_prefix,
        single_line=body.single_line,
        continue_line_after=tuple(body.continue_line_after),
    )


async def _stream(request: Request, prepared: _Prepared) -> Response:
    body = prepared.body
    builder = wire.ResponseBuilder("chat.completion.chunk", "chatcmpl", prepared.model)
    has_text = False

    async def events(chunk: Chunk) -> AsyncIterator[ChatCompletion]:
        nonlocal has_text
        text = chunk.text if has_text else chunk.text.lstrip()
        if not has_text:
            yield builder.chat_completion([wire.chat_piece({"role": "assistant", "content": ""})])
        has_text = has_text or bool(text)
        logprobs = await prepared.logprobs(chunk.logprobs)
        piece = wire.chat_piece({"content": text} if text else {}, chunk.finish, logprobs)
        yield builder.chat_completion([piece])
        if chunk.usage is not None and body.include_usage:
            yield builder.chat_completion([], chunk.usage)

    return await event_stream(request, prepared.chunks, events)
