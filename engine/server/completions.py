"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.api import Chunk, GenerationRequest, Priority, ScoringEngine, TokenLogprob, Usage
from engine.errors import RequestError
from engine.server import wire
from engine.server.responses import (
    Output,
    adapter_name,
    cancel_on_disconnect,
    collect,
    event_stream,
    parse_body,
)
from engine.server.schema import CompletionBody
from engine.server.wire import JsonObject
from engine.tokenizer import Tokenizer

_NO_USAGE = Usage(0, 0, 0, 0.0, 0.0)


async def completions(request: Request) -> Response:
    """Answer one completion request."""
    body = await parse_body(request, CompletionBody)
    engine: ScoringEngine = request.app.state.engine
    info = await cancel_on_disconnect(request, engine.info())
    body = body.model_copy(update={"adapter": adapter_name(info, body)})
    tokenizer = await engine.tokenizer(body.adapter)
    prompts = [await _encode(prompt, tokenizer, body.parse_special) for prompt in body.prompts]
    if body.stream:
        return await _stream(request, body, engine, tokenizer, prompts, info.model)
    builder = wire.ResponseBuilder("text_completion", "cmpl", info.model)
    choices, usages = [], []
    for index, prompt in enumerate(prompts):
        choice, usage = await cancel_on_disconnect(
            request, _choice(index, prompt, body, engine, tokenizer)
        )
        choices.append(choice)
        usages.append(usage)
    return JSONResponse(builder.build(choices, wire.total_usage(usages)))


async def _encode(
    prompt: str | list[int], tokenizer: Tokenizer, parse_special: bool
) -> tuple[int, ...]:
    if isinstance(prompt, list):
        return tuple(prompt)
    if parse_special:
        return tuple(await asyncio.to_thread(tokenizer.encode_with_special, prompt))
    # As in vLLM, a text begins with the tokens that the model was trained to see there.
    return (*tokenizer.start_ids, *await asyncio.to_thread(tokenizer.encode_start, prompt))


def _generation_request(body: CompletionBody, prompt: tuple[int, ...]) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        max_new_tokens=max(1, body.max_new_tokens),
        stop_ids=frozenset(body.stop_token_ids),
        stop_text=tuple(body.stop),
        sampling=body.sampling,
        priority=body.priority_or(Priority.COMPLETION),
        logprobs=body.logprobs,
        adapter=body.adapter,
        draft_tokens=tuple(body.draft_tokens),
        forced_prefix=body.forced_prefix,
        single_line=body.single_line,
        continue_line_after=tuple(body.continue_line_after),
    )


async def _choice(
    index: int,
    prompt: tuple[int, ...],
    body: CompletionBody,
    engine: ScoringEngine,
    tokenizer: Tokenizer,
) -> tuple[JsonObject, Usage]:
    """Return a finished choice; with `echo` it starts with the prompt, scored if asked for."""
    output = Output("", (), (), "length", _NO_USAGE)
    if body.max_new_tokens > 0:
        output = await collect(engine.stream(_generation_request(body, prompt)))
    elif not body.echo:
        raise RequestError("max_tokens is 0 and echo is false. Set max_tokens to at least 1.")
    echoed = tokenizer.decode(prompt, skip_special=False) if body.echo else ""
    logprobs = None
    if body.logprobs is not None:
        ids = output.ids
        scores: Sequence[TokenLogprob | None] = output.logprobs
        if body.echo:
            ids = (*prompt, *ids)
            scores = [*await engine.score(prompt, body.logprobs), *scores]
        logprobs = wire.completion_logprobs(scores, ids, tokenizer, 0)
    choice: JsonObject = {
        "index": index,
        "text": echoed + output.text,
        "logprobs": logprobs,
        "finish_reason": output.finish,
    }
    if body.return_token_ids:
        choice["token_ids"] = list(output.ids)
    return choice, output.usage


async def _stream(
    request: Request,
    body: CompletionBody,
    engine: ScoringEngine,
    tokenizer: Tokenizer,
    prompts: list[tuple[int, ...]],
    model: str,
) -> Response:
    if len(prompts) != 1 or body.echo:
        raise RequestError("A streamed completion takes one prompt and no echo.")
    builder = wire.ResponseBuilder("text_completion", "cmpl", model)
    offset = 0

    async def events(chunk: Chunk) -> AsyncIterator[JsonObject]:
        nonlocal offset
        logprobs = None
        if body.logprobs is not None:
            logprobs = wire.completion_logprobs(chunk.logprobs, chunk.ids, tokenizer, offset)
        offset += len(chunk.text)
        choice = wire.completion_choice(0, chunk, logprobs, with_ids=body.return_token_ids)
        yield builder.build([choice])
        if chunk.usage is not None and body.include_usage:
            yield builder.build([], chunk.usage)

    chunks = engine.stream(_generation_request(body, prompts[0]))
    return await event_stream(request, chunks, events)
