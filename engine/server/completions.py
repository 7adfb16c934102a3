"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.api import Chunk, GenerationRequest, Priority, ScoringEngine, TokenLogprob, Usage
from engine.errors import RequestError
from engine.server import wire
from engine.server.responses import (
    Answer,
    adapter_name,
    parse,
    streamed,
    unless_gone,
    whole,
)
from engine.server.schema import CompletionRequest
from engine.tokenizer import Tokenizer

_NO_USAGE = Usage(0, 0, 0, 0.0, 0.0)


async def completions(request: Request) -> Response:
    """Answer one completion request."""
    asked = await parse(request, CompletionRequest)
    engine: ScoringEngine = request.app.state.engine
    info = await unless_gone(request, engine.info())
    asked = asked.model_copy(update={"adapter": adapter_name(info, asked)})
    tokenizer = await engine.tokenizer(asked.adapter)
    prompts = [await _ids(prompt, tokenizer, asked.parse_special) for prompt in asked.prompts]
    if asked.stream:
        return await _stream(request, asked, engine, tokenizer, prompts, info.model)
    envelope = wire.Envelope("text_completion", "cmpl", info.model)
    choices, usages = [], []
    for index, ids in enumerate(prompts):
        choice, usage = await unless_gone(request, _choice(index, ids, asked, engine, tokenizer))
        choices.append(choice)
        usages.append(usage)
    return JSONResponse(envelope.of(choices, wire.total(usages)))


async def _ids(prompt: str | list[int], tokenizer: Tokenizer, special: bool) -> tuple[int, ...]:
    if isinstance(prompt, list):
        return tuple(prompt)
    encode = tokenizer.encode_with_special if special else tokenizer.encode
    return tuple(await asyncio.to_thread(encode, prompt))


def _generation(asked: CompletionRequest, ids: tuple[int, ...]) -> GenerationRequest:
    return GenerationRequest(
        prompt=ids,
        max_new_tokens=max(1, asked.limit),
        stop_ids=frozenset(asked.stop_token_ids),
        stop_text=tuple(asked.stop),
        sampling=asked.sampling,
        priority=asked.priority_or(Priority.COMPLETION),
        logprobs=asked.logprobs,
        adapter=asked.adapter,
        draft_tokens=tuple(asked.draft_tokens),
        forced_prefix=asked.forced_prefix,
        single_line=asked.single_line,
        continue_line_after=tuple(asked.continue_line_after),
    )


async def _choice(
    index: int,
    ids: tuple[int, ...],
    asked: CompletionRequest,
    engine: ScoringEngine,
    tokenizer: Tokenizer,
) -> tuple[dict[str, Any], Usage]:
    """Return one finished choice; with `echo` the prompt stands before it, scored if asked for."""
    answer = Answer("", (), (), "length", _NO_USAGE)
    if asked.limit > 0:
        answer = await whole(engine.stream(_generation(asked, ids)))
    elif not asked.echo:
        raise RequestError("max_tokens is 0: with echo false there is nothing to answer.")
    echoed = tokenizer.decode(ids, skip_special=False) if asked.echo else ""
    scores: Sequence[TokenLogprob | None] = answer.logprobs
    scored_ids = answer.ids
    if asked.echo and asked.logprobs is not None:
        scores = [*await engine.score(ids, asked.logprobs), *answer.logprobs]
        scored_ids = (*ids, *answer.ids)
    logprobs = None
    if asked.logprobs is not None:
        logprobs = wire.legacy_logprobs(scores, scored_ids, tokenizer, 0)
    choice = {
        "index": index,
        "text": echoed + answer.text,
        "logprobs": logprobs,
        "finish_reason": answer.finish,
    }
    if asked.return_token_ids:
        choice["token_ids"] = list(answer.ids)
    return choice, answer.usage


async def _stream(
    request: Request,
    asked: CompletionRequest,
    engine: ScoringEngine,
    tokenizer: Tokenizer,
    prompts: list[tuple[int, ...]],
    model: str,
) -> Response:
    if len(prompts) != 1 or asked.echo:
        raise RequestError("A streamed completion takes one prompt and no echo.")
    envelope = wire.Envelope("text_completion", "cmpl", model)
    offset = 0

    async def write(chunk: Chunk) -> AsyncIterator[dict[str, Any]]:
        nonlocal offset
        logprobs = None
        if asked.logprobs is not None:
            logprobs = wire.legacy_logprobs(chunk.logprobs, chunk.ids, tokenizer, offset)
        offset += len(chunk.text)
        choice = wire.completion_choice(0, chunk, logprobs, with_ids=asked.return_token_ids)
        yield envelope.of([choice])
        if chunk.usage is not None and asked.wants_usage:
            yield envelope.of([], chunk.usage)

    return await streamed(request, engine.stream(_generation(asked, prompts[0])), write)
