"""Responses of llama.cpp's own API."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

from engine.api import (
    Chunk,
    EngineInfo,
    FinishReason,
    GenerationRequest,
    Sampling,
    ScoringEngine,
    Usage,
)
from engine.errors import StarcoderError
from engine.server.apis.llama_cpp_types import (
    GenerationBody,
    LlamaCompletion,
    LlamaErrorBody,
    Props,
    Timings,
)
from engine.server.limits import MAX_REQUESTS
from engine.server.output_limits import limited
from engine.server.responses import Output
from engine.tokenizer import Tokenizer

_BUILD = "starcoder-lsp"
RANDOM_SEED = 2**32 - 1
"""Seed that llama.cpp takes for none."""


class Prepared(NamedTuple):
    """A request of llama.cpp's API whose prompt is encoded."""

    body: GenerationBody
    engine: ScoringEngine
    info: EngineInfo
    tokenizer: Tokenizer
    generation: GenerationRequest

    @property
    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The stream of the engine, up to the limits of the request."""
        chunks = self.engine.stream(self.generation)
        limits = self.body.n_indent, self.body.t_max_predict_ms
        return limited(chunks, len(self.generation.prompt), *limits)


def props_body(info: EngineInfo) -> Props:
    """Return the model and the default settings."""
    defaults = GenerationBody()
    return {
        "default_generation_settings": {
            "n_ctx": info.context_window,
            "params": settings_body(defaults, defaults.sampling()),
        },
        "total_slots": MAX_REQUESTS,
        "model_path": info.model,
        "model_alias": info.model,
        "chat_template": info.chat_template,
        "modalities": {"vision": False, "audio": False},
        "build_info": _BUILD,
        "is_sleeping": False,
    }


def error_body(status: int, message: str, kind: str) -> LlamaErrorBody:
    """Return llama.cpp's error object."""
    return {"error": {"code": status, "message": message, "type": kind}}


def stream_error(error: StarcoderError) -> LlamaErrorBody:
    """Return the object that reports an error during a stream."""
    return error_body(error.http_status, error.user_message, error.kind)


def final_answer(prepared: Prepared, output: Output) -> LlamaCompletion:
    """Return the response of a request, or the last event of its stream, without its text."""
    body, usage = prepared.body, output.usage
    decode, prompt = prepared.tokenizer.decode, prepared.generation.prompt
    num_rows = usage.prompt_tokens + usage.completion_tokens
    # The engine does not say whether a stop string or the end of the text ended the output.
    stop_type = "limit" if output.finish == FinishReason.LENGTH else "eos"
    answer: LlamaCompletion = {
        "index": 0,
        "content": output.text,
        "tokens": list(output.ids) if body.return_tokens else [],
        "id_slot": 0,
        "stop": True,
        "model": prepared.info.model,
        "tokens_predicted": usage.completion_tokens,
        "tokens_evaluated": usage.prompt_tokens,
        "generation_settings": settings_body(body, prepared.generation.sampling),
        "prompt": "" if body.response_fields else decode(prompt, skip_special=False),
        "has_new_line": "\n" in output.text,
        "truncated": stop_type == "limit" and num_rows >= prepared.info.context_window,
        "stop_type": stop_type,
        "stopping_word": "",
        "tokens_cached": num_rows,
        "timings": _timings(usage),
    }
    return select_fields(answer, body.response_fields) if body.response_fields else answer


def settings_body(body: GenerationBody, sampling: Sampling) -> dict[str, Any]:
    """Return the settings that a request gets."""
    return {
        "n_predict": body.n_predict,
        "seed": RANDOM_SEED if sampling.seed is None else sampling.seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "repeat_penalty": sampling.repetition_penalty,
        "stop": list(body.stops),
        "stream": body.stream,
        "n_indent": body.n_indent,
        "t_max_predict_ms": body.t_max_predict_ms,
    }


def _timings(usage: Usage) -> Timings:
    num_prompt = usage.prompt_tokens - usage.reused_tokens
    return {
        "cache_n": usage.reused_tokens,
        "prompt_n": num_prompt,
        "prompt_ms": usage.prefill_ms,
        "prompt_per_token_ms": _ratio(usage.prefill_ms, num_prompt),
        "prompt_per_second": _ratio(1000 * num_prompt, usage.prefill_ms),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": usage.decode_ms,
        "predicted_per_token_ms": _ratio(usage.decode_ms, usage.completion_tokens),
        "predicted_per_second": _ratio(1000 * usage.completion_tokens, usage.decode_ms),
    }


def _ratio(dividend: float, divisor: float) -> float:
    ratio = dividend / divisor if divisor else 0.0
    return ratio if math.isfinite(ratio) else 0.0


def select_fields(answer: Mapping[str, Any], names: list[str]) -> LlamaCompletion:
    """Return the named fields that exist, as llama.cpp does.

    `object/field` names a field of an object, and this is also its name in the result.
    """
    selected: dict[str, Any] = {}
    for name in names:
        value: Any = answer
        for part in name.split("/"):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            selected[name] = value
    result: LlamaCompletion = selected  # type: ignore[assignment]
    return result
