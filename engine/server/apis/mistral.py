"""`POST /v1/fim/completions`: fill-in-the-middle as in Mistral's API.

Continue and minuet use it. The response is that of a chat. Source: Mistral's OpenAPI description,
`FIMCompletionRequest`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.api import Chunk, FimText, GenerationRequest, Priority, ScoringEngine
from engine.server import wire
from engine.server.bodies import parse_body
from engine.server.fields import check_fields, report_ignored
from engine.server.fim import rendered_fim
from engine.server.model_names import adapter_of
from engine.server.response_types import ChatCompletion
from engine.server.responses import cancel_on_disconnect, collect, event_stream, json_response
from engine.server.schema import FimBody


async def fim_completions(request: Request) -> Response:
    """Fill in between prompt and suffix."""
    body = await parse_body(request, FimBody)
    ignored = check_fields(body.other_fields)
    prepared = await cancel_on_disconnect(request, _prepare(request, body))
    if body.stream:
        return report_ignored(await _stream(request, prepared), ignored)
    answer = await cancel_on_disconnect(request, _answer(prepared))
    return report_ignored(await json_response(answer), ignored)


class _Prepared(NamedTuple):
    """A request whose prompt is encoded."""

    body: FimBody
    chunks: AsyncGenerator[Chunk, None]
    model: str


async def _prepare(request: Request, body: FimBody) -> _Prepared:
    engine: ScoringEngine = request.app.state.engine
    info = await engine.info()
    adapter = body.adapter or adapter_of(request, info, body.model)
    tokenizer = await engine.tokenizer(adapter)
    max_new_tokens = body.max_tokens or info.context_window
    text = FimText(body.prompt, body.suffix)
    fim = await rendered_fim(request, tokenizer, text, max_new_tokens)
    generation = GenerationRequest(
        prompt=fim.ids,
        max_new_tokens=max_new_tokens,
        stop_ids=fim.stop_ids | frozenset(body.stop_token_ids),
        stop_text=body.stops,
        sampling=body.sampling,
        priority=body.priority_or(Priority.COMPLETION),
        adapter=adapter,
        draft_tokens=tuple(body.draft_tokens),
        memory=None if body.memory is None else body.memory.memory,
        forced_prefix=body.forced_prefix,
        single_line=body.single_line,
        continue_line_after=tuple(body.continue_line_after),
    )
    return _Prepared(body, engine.stream(generation), info.model)


async def _answer(prepared: _Prepared) -> ChatCompletion:
    output = await collect(prepared.chunks)
    choice = wire.chat_choice(output.text, output.finish)
    builder = wire.ResponseBuilder("chat.completion", "fim", prepared.model)
    return builder.chat_completion([choice], output.usage)


async def _stream(request: Request, prepared: _Prepared) -> Response:
    builder = wire.ResponseBuilder("chat.completion.chunk", "fim", prepared.model)

    async def events(chunk: Chunk) -> AsyncIterator[ChatCompletion]:
        choice = wire.chat_piece({"role": "assistant", "content": chunk.text}, chunk.finish)
        # Mistral's last event has the usage; with OpenAI's option it comes in one of its own.
        is_separate = prepared.body.include_usage
        yield builder.chat_completion([choice], None if is_separate else chunk.usage)
        if chunk.usage is not None and is_separate:
            yield builder.chat_completion([], chunk.usage)

    return await event_stream(request, prepared.chunks, events)
