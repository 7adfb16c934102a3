"""llama.cpp's own API, as its editor plugins use it: `/infill`, `/completion` and `/props`.

llama.cpp ignores the name of the model in a request, and so does this module, except that the name
of an adapter selects it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.api import (
    Chunk,
    EngineInfo,
    FimText,
    FinishReason,
    GenerationRequest,
    Priority,
    Sampling,
    ScoringEngine,
)
from engine.server import wire
from engine.server.apis.llama_cpp_answers import (
    RANDOM_SEED,
    Prepared,
    final_answer,
    props_body,
    stream_error,
)
from engine.server.apis.llama_cpp_types import (
    GenerationBody,
    InfillBody,
    LlamaCompletion,
    LlamaCompletionBody,
)
from engine.server.bodies import parse_body
from engine.server.fields import HARMLESS, REFUSED, RefusedField, check_fields, report_ignored
from engine.server.fim import rendered_fim
from engine.server.prompts import EncodedPrompt, encode_prompt
from engine.server.responses import (
    Framing,
    Output,
    cancel_on_disconnect,
    collect,
    event_stream,
    json_response,
    model_info,
)
from engine.server.users.threads import in_thread
from engine.tokenizer import Tokenizer

_REFUSED: Mapping[str, RefusedField] = {
    **REFUSED,
    "suffix": RefusedField(("",), "Send input_prefix and input_suffix to /infill."),
    "n": RefusedField((1,), "The engine returns one output per prompt; send several requests."),
    "n_cmpl": RefusedField(
        (1,), "The engine returns one output per prompt; send several requests."
    ),
    "n_probs": RefusedField((0,), "Request log-probabilities from /v1/completions."),
    "ignore_eos": RefusedField((False,), "The end of the text always ends the output."),
}
_HARMLESS = HARMLESS | {
    "model",
    "samplers",
    "id_slot",
    "n_keep",
    "n_cache_reuse",
    "t_max_prompt_ms",
    "timings_per_token",
}
"""Fields without an effect here. llama.cpp does not implement `t_max_prompt_ms` either."""


async def infill(request: Request) -> Response:
    """Fill in between a prefix and a suffix.

    Without a `temperature` the output is greedy: llama.cpp's plugins name its sampler `infill`
    instead, which also prefers what is most likely.
    """
    body = await parse_body(request, InfillBody)
    ignored = check_fields(body.other_fields, _REFUSED, _HARMLESS)
    prepared = await cancel_on_disconnect(request, _prepare_infill(request, body))
    return report_ignored(await _respond(request, prepared), ignored)


async def completion(request: Request) -> Response:
    """Continue a prompt."""
    body = await parse_body(request, LlamaCompletionBody)
    ignored = check_fields(body.other_fields, _REFUSED, _HARMLESS)
    prepared = await cancel_on_disconnect(request, _prepare_completion(request, body))
    return report_ignored(await _respond(request, prepared), ignored)


async def props(request: Request) -> Response:
    """Return the model and the default settings."""
    return JSONResponse(props_body(await model_info(request)))


_EVENTS = Framing("text/event-stream", wire.event, "", stream_error)


async def _prepare_infill(request: Request, body: InfillBody) -> Prepared:
    info, adapter, tokenizer = await _model(request, body)
    text = FimText(
        body.input_prefix + body.prompt,
        body.input_suffix,
        tuple((extra.filename, extra.text) for extra in body.input_extra),
    )
    fim = await rendered_fim(request, tokenizer, text, _max_new_tokens(body, info))
    prompt = EncodedPrompt(fim.ids, fim.stop_ids)
    return _prepared(request, body, info, tokenizer, (prompt, adapter, body.sampling(0.0)))


async def _prepare_completion(request: Request, body: LlamaCompletionBody) -> Prepared:
    info, adapter, tokenizer = await _model(request, body)
    prompt = await encode_prompt(body.prompt, tokenizer, info.context_window)
    return _prepared(request, body, info, tokenizer, (prompt, adapter, body.sampling()))


async def _model(
    request: Request, body: GenerationBody
) -> tuple[EngineInfo, str | None, Tokenizer]:
    engine: ScoringEngine = request.app.state.engine
    info = await engine.info()
    name = body.other_fields.get("model")
    adapter = name if isinstance(name, str) and name in info.adapters else None
    return info, adapter, await engine.tokenizer(adapter)


def _max_new_tokens(body: GenerationBody, info: EngineInfo) -> int:
    return info.context_window if body.n_predict < 0 else body.n_predict


def _prepared(
    request: Request,
    body: GenerationBody,
    info: EngineInfo,
    tokenizer: Tokenizer,
    parts: tuple[EncodedPrompt, str | None, Sampling],
) -> Prepared:
    prompt, adapter, sampling = parts
    if sampling.seed == RANDOM_SEED:
        sampling = replace(sampling, seed=None)
    # Without new tokens a plugin wants the prompt in the KV cache, before the user needs it.
    is_prefetch = body.n_predict == 0
    generation = GenerationRequest(
        prompt=prompt.ids,
        max_new_tokens=max(1, _max_new_tokens(body, info)),
        stop_ids=prompt.stop_ids,
        stop_text=body.stops,
        sampling=sampling,
        priority=Priority.PREFETCH if is_prefetch else Priority.COMPLETION,
        adapter=adapter,
    )
    return Prepared(body, request.app.state.engine, info, tokenizer, generation)


async def _respond(request: Request, prepared: Prepared) -> Response:
    if prepared.body.stream and prepared.body.n_predict != 0:
        return await _stream(request, prepared)
    output = await cancel_on_disconnect(request, collect(prepared.chunks))
    if prepared.body.n_predict == 0:
        usage = replace(output.usage, completion_tokens=0, decode_ms=0.0)
        output = Output("", (), (), FinishReason.LENGTH, usage)
    answer = await in_thread(final_answer, prepared, output)
    if prepared.body.stream:
        return Response(wire.event(answer), media_type=_EVENTS.media_type)
    return await json_response(answer)


async def _stream(request: Request, prepared: Prepared) -> Response:
    num_prompt = len(prepared.generation.prompt)
    num_new, has_line_feed = 0, False

    async def events(chunk: Chunk) -> AsyncIterator[Mapping[str, object]]:
        nonlocal num_new, has_line_feed
        num_new += len(chunk.ids)
        has_line_feed = has_line_feed or "\n" in chunk.text
        if chunk.text:
            yield LlamaCompletion(
                index=0,
                content=chunk.text,
                tokens=list(chunk.ids),
                stop=False,
                id_slot=0,
                tokens_predicted=num_new,
                tokens_evaluated=num_prompt,
            )
        if chunk.finish is not None and chunk.usage is not None:
            output = Output("", (), (), chunk.finish, chunk.usage)
            final = await in_thread(final_answer, prepared, output)
            if "has_new_line" in final:
                final["has_new_line"] = has_line_feed
            yield final

    return await event_stream(request, prepared.chunks, events, _EVENTS)
