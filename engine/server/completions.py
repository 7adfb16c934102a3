"""`POST /v1/completions`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.api import (
    Chunk,
    FimText,
    FinishReason,
    GenerationRequest,
    Priority,
    ScoringEngine,
    TokenLogprob,
    Usage,
)
from engine.errors import RequestError
from engine.server import wire
from engine.server.bodies import check_scores, parse_body
from engine.server.fields import check_fields, report_ignored
from engine.server.fim import rendered_fim
from engine.server.limits import MAX_PROMPT_TOKENS
from engine.server.model_names import adapter_of
from engine.server.prompts import EncodedPrompt, encode_prompt
from engine.server.response_types import Completion, CompletionChoice
from engine.server.responses import (
    Output,
    cancel_on_disconnect,
    collect,
    event_stream,
    json_response,
)
from engine.server.schema import CompletionBody
from engine.server.users.threads import in_thread
from engine.tokenizer import Tokenizer

_NO_USAGE = Usage(0, 0, 0, 0.0, 0.0)


async def completions(request: Request) -> Response:
    """Answer one completion request."""
    body = await parse_body(request, CompletionBody)
    ignored = check_fields(body.other_fields)
    prepared = await cancel_on_disconnect(request, _prepare(request, body))
    if body.stream:
        return report_ignored(await _stream(request, prepared), ignored)
    answer = await cancel_on_disconnect(request, _complete(prepared))
    return report_ignored(await json_response(answer), ignored)


class _Prepared(NamedTuple):
    """A completion request whose prompts are encoded."""

    body: CompletionBody
    engine: ScoringEngine
    tokenizer: Tokenizer
    prompts: list[EncodedPrompt]
    model: str
    context_window: int


async def _prepare(request: Request, body: CompletionBody) -> _Prepared:
    engine: ScoringEngine = request.app.state.engine
    info = await engine.info()
    adapter = body.adapter or adapter_of(request, info, body.model)
    body = body.model_copy(update={"adapter": adapter})
    if body.stream and (len(body.prompts) != 1 or body.echo):
        raise RequestError("A streamed completion takes one prompt and no echo.")
    if body.max_new_tokens == 0 and not body.echo:
        raise RequestError("max_tokens is 0 and echo is false. Set max_tokens to at least 1.")
    _check_suffix(body)
    tokenizer = await engine.tokenizer(body.adapter)
    prompts = []
    num_tokens = 0
    for text in body.prompts:
        prompts.append(await _encode(request, text, tokenizer, body, info.context_window))
        num_tokens += len(prompts[-1].ids)
        if num_tokens > MAX_PROMPT_TOKENS:
            raise RequestError(
                f"The prompts have more than {MAX_PROMPT_TOKENS:,} tokens together. Send fewer."
            )
    num_new = min(body.max_new_tokens, info.context_window) * len(prompts)
    check_scores(num_new + (num_tokens if body.echo else 0), body.logprobs)
    return _Prepared(body, engine, tokenizer, prompts, info.model, info.context_window)


def _check_suffix(body: CompletionBody) -> None:
    """Raise RequestError for fields that cannot be combined with a suffix."""
    if not body.suffix:
        return
    if any(isinstance(prompt, list) for prompt in body.prompts) or body.parse_special:
        raise RequestError(
            "A prompt with a suffix is text: the server adds the fill-in-the-middle tokens. Send "
            "the text before the cursor as prompt, without parse_special, or no suffix."
        )
    if body.echo and body.logprobs is not None:
        raise RequestError(
            "With a suffix, the prompt has no log-probabilities of its own. Set echo to false, or "
            "send no suffix."
        )


async def _complete(prepared: _Prepared) -> Completion:
    results = [await _choice(index, prepared) for index in range(len(prepared.prompts))]
    builder = wire.ResponseBuilder("text_completion", "cmpl", prepared.model)
    usage = wire.total_usage([usage for _, usage in results])
    return builder.completion([choice for choice, _ in results], usage)


async def _encode(
    request: Request,
    prompt: str | list[int],
    tokenizer: Tokenizer,
    body: CompletionBody,
    window: int,
) -> EncodedPrompt:
    if body.suffix and isinstance(prompt, str):
        text = FimText(prompt, body.suffix)
        fim = await rendered_fim(request, tokenizer, text, body.max_new_tokens)
        return EncodedPrompt(fim.ids, fim.stop_ids)
    return await encode_prompt(prompt, tokenizer, window, body.parse_special)


def _generation_request(body: CompletionBody, prompt: EncodedPrompt) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt.ids,
        max_new_tokens=max(1, body.max_new_tokens),
        stop_ids=prompt.stop_ids | frozenset(body.stop_token_ids),
        stop_text=body.stops,
        sampling=body.sampling,
        priority=body.priority_or(Priority.COMPLETION),
        logprobs=body.logprobs,
        adapter=body.adapter,
        draft_tokens=tuple(body.draft_tokens),
        memory=None if body.memory is None else body.memory.memory,
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
        _check_ids(prompt.ids, prepared.tokenizer)
    logprobs = None
    if body.logprobs is not None:
        ids = output.ids
        scores: Sequence[TokenLogprob | None] = output.logprobs
        if body.echo:
            ids, scores = await _echoed_scores(prepared, prompt, output)
        logprobs = await in_thread(wire.completion_logprobs, scores, ids, prepared.tokenizer, 0)
    text = output.text
    if body.echo:
        text = await _echoed(prepared, index) + text
    choice = wire.completion_choice(text, output.finish, logprobs, index)
    if body.return_token_ids:
        choice["token_ids"] = list(output.ids)
    return choice, output.usage


async def _echoed_scores(
    prepared: _Prepared, prompt: EncodedPrompt, output: Output
) -> tuple[tuple[int, ...], list[TokenLogprob | None]]:
    """Return the ids of prompt and output, and their log-probabilities.

    As in OpenAI's API and vLLM, the token that ends the text is one of them, although it is not
    part of the text. Evaluation programs ask for one token, and drop the last log-probability.
    """
    body, ids = prepared.body, (*prompt.ids, *output.ids)
    num_top = body.logprobs or 0
    has_end = (
        output.finish == FinishReason.STOP
        and not body.stops
        and len(output.ids) < body.max_new_tokens
    )
    if not has_end or len(ids) + 1 >= prepared.context_window:
        scores = await prepared.engine.score(prompt.ids, num_top)
        return ids, [*scores, *output.logprobs]
    # The likeliest token after the text is the one that ended it. Any id takes its place here.
    *scores, last = await prepared.engine.score((*ids, ids[-1]), max(1, num_top))
    shown = [score and replace(score, top=score.top[:num_top]) for score in scores]
    if last is None or not last.top:
        return ids, shown
    id_, logprob = last.top[0]
    return (*ids, id_), [*shown, TokenLogprob(id_, logprob, last.top[:num_top])]


async def _echoed(prepared: _Prepared, index: int) -> str:
    """Return the text of a prompt; with a suffix, as the client sent it."""
    sent = prepared.body.prompts[index]
    if prepared.body.suffix and isinstance(sent, str):
        return sent
    decode, ids = prepared.tokenizer.decode, prepared.prompts[index].ids
    return await in_thread(decode, ids, skip_special=False)


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
        choice = wire.completion_piece(chunk, logprobs, with_ids=body.return_token_ids)
        yield builder.completion([choice])
        if chunk.usage is not None and body.include_usage:
            yield builder.completion([], chunk.usage)

    chunks = prepared.engine.stream(_generation_request(body, prepared.prompts[0]))
    return await event_stream(request, chunks, events)
