"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.api import Chunk, GenerationRequest, Priority, ScoringEngine, TokenLogprob, Usage
from engine.errors import RequestError
from engine.server import wire
from engine.server.bodies import check_scores, parse_body
from engine.server.fields import check_fields, report_ignored
from engine.server.limits import MAX_PROMPT_TOKENS
from engine.server.response_types import Completion, CompletionChoice
from engine.server.responses import (
    Output,
    adapter_name,
    cancel_on_disconnect,
    collect,
    event_stream,
    json_response,
)
from engine.server.schema import CompletionBody
from engine.tokenizer import Tokenizer

_NO_USAGE = Usage(0, 0, 0, 0.0, 0.0)


async def completions(request: Request) -> Response:
    """Answer one completion request."""
    body = await parse_body(request, CompletionBody)
    ignored = check_fields(body.other_fields)
    prepared = await cancel_on_disconnect(request, _prepare(request.app.state.engine, body))
    if body.stream:
        return report_ignored(await _stream(request, prepared), ignored)
    answer = await cancel_on_disconnect(request, _complete(prepared))
    return report_ignored(await json_response(answer), ignored)


class _Prepared(NamedTuple):
    """A completion request whose prompts are encoded."""

    body: CompletionBody
    engine: ScoringEngine
    tokenizer: Tokenizer
    prompts: list[tuple[int, ...]]
    model: str


async def _prepare(engine: ScoringEngine, body: CompletionBody) -> _Prepared:
    info = await engine.info()
    body = body.model_copy(update={"adapter": adapter_name(info, body)})
    if body.stream and (len(body.prompts) != 1 or body.echo):
        raise RequestError("A streamed completion takes one prompt and no echo.")
    if body.max_new_tokens == 0 and not body.echo:
        raise RequestError("max_tokens is 0 and echo is false. Set max_tokens to at least 1.")
    tokenizer = await engine.tokenizer(body.adapter)
    prompts = []
    num_tokens = 0
    for text in body.prompts:
        prompts.append(await _encode(text, tokenizer, body.parse_special))
        num_tokens += len(prompts[-1])
        if num_tokens > MAX_PROMPT_TOKENS:
            raise RequestError(
                f"The prompts have more than {MAX_PROMPT_TOKENS:,} tokens together. Send fewer."
            )
    num_new = min(body.max_new_tokens, info.context_window) * len(prompts)
    check_scores(num_new + (num_tokens if body.echo else 0), body.logprobs)
    return _Prepared(body, engine, tokenizer, prompts, info.model)


async def _complete(prepared: _Prepared) -> Completion:
    results = [await _choice(index, prepared) for index in range(len(prepared.prompts))]
    builder = wire.ResponseBuilder("text_completion", "cmpl", prepared.model)
    usage = wire.total_usage([usage for _, usage in results])
    return builder.completion([choice for choice, _ in results], usage)


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
        stop_text=tuple(body.stops),
        sampling=body.sampling,
        priority=body.priority_or(Priority.COMPLETION),
        logprobs=body.logprobs,
        adapter=body.adapter,
        draft_tokens=tuple(body.draft_tokens),
        forced_prefix=body.forced_prefix,
        single_line=body.single_line,
        continue_line_after=tuple(body.continue_line_after),
    )


async def _choice(index: int, prepared: _Prepared) -> tuple[CompletionChoice, Usage]:
    """Return a finished choice; with `echo` it starts with the prompt, scored if asked for."""
    body, prompt = prepared.body, prepared.prompts[index]
    output = Output("", (), (), "length", _NO_USAGE)
    if body.max_new_tokens > 0:
        output = await collect(prepared.engine.stream(_generation_request(body, prompt)))
    elif body.logprobs is None:
        _check_ids(prompt, prepared.tokenizer)
    logprobs = None
    if body.logprobs is not None:
        ids = output.ids
        scores: Sequence[TokenLogprob | None] = output.logprobs
        if body.echo:
            ids = (*prompt, *ids)
            scores = [*await prepared.engine.score(prompt, body.logprobs), *scores]
        logprobs = await asyncio.to_thread(
            wire.completion_logprobs, scores, ids, prepared.tokenizer, 0
        )
    text = output.text
    if body.echo:
        decode = prepared.tokenizer.decode
        text = await asyncio.to_thread(decode, prompt, skip_special=False) + text
    choice: CompletionChoice = {
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": output.finish,
    }
    if body.return_token_ids:
        choice["token_ids"] = list(output.ids)
    return choice, output.usage


def _check_ids(prompt: tuple[int, ...], tokenizer: Tokenizer) -> None:
    """Raise RequestError for ids without text. The model checks all prompts that it computes."""
    if max(prompt, default=0) >= tokenizer.vocab_size:
        raise RequestError(
            f"The prompt contains a token id outside the vocabulary of {tokenizer.vocab_size}. It "
            "was probably encoded with the tokenizer of another model."
        )


async def _stream(request: Request, prepared: _Prepared) -> Response:
    body = prepared.body
    builder = wire.ResponseBuilder("text_completion", "cmpl", prepared.model)
    offset = 0

    async def events(chunk: Chunk) -> AsyncIterator[Completion]:
        nonlocal offset
        logprobs = None
        if body.logprobs is not None:
            logprobs = wire.completion_logprobs(
                chunk.logprobs, chunk.ids, prepared.tokenizer, offset
            )
        offset += len(chunk.text)
        choice = wire.completion_choice(0, chunk, logprobs, with_ids=body.return_token_ids)
        yield builder.completion([choice])
        if chunk.usage is not None and body.include_usage:
            yield builder.completion([], chunk.usage)

    chunks = prepared.engine.stream(_generation_request(body, prepared.prompts[0]))
    return await event_stream(request, chunks, events)
