"""This project's server: OpenAI's API with fields that carry the whole contract of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.api import Chunk, EngineInfo, GenerationRequest, TokenLogprob
from engine.client.servers.base import finish_reason, openai_body, read_usage, text_of

PATH = "/v1/completions"
FINGERPRINT_HEADER = "X-Starcoder-Fingerprint"
"""Header with `EngineInfo.fingerprint` of the model that answered."""


def is_our_model(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of `/v1/models` was written by this project's server."""
    return isinstance(entry.get("starcoder"), dict)


def read_info(entry: Mapping[str, Any]) -> EngineInfo:
    """Read an entry of `/v1/models`."""
    ours = entry["starcoder"]
    fields = {name: ours[name] for name in EngineInfo.__slots__ if name in ours}
    return EngineInfo(**{**fields, "adapters": tuple(fields.get("adapters", ()))})


def request_body(request: GenerationRequest, model: str) -> dict[str, Any]:
    """Return the JSON body of a request."""
    sampling = request.sampling
    body = openai_body(request, model) | {
        "stop": list(request.stop_text),
        "stop_token_ids": sorted(request.stop_ids),
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "priority": int(request.priority),
        "return_token_ids": True,
        "draft_tokens": list(request.draft_tokens),
        "forced_prefix": request.forced_prefix,
        "single_line": request.single_line,
        "continue_line_after": list(request.continue_line_after),
    }
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    if request.memory is not None:
        body["memory"] = asdict(request.memory)
    if request.adapter is not None:
        body["adapter"] = request.adapter
    return body


def read_chunk(payload: Mapping[str, Any]) -> Chunk:
    """Read one event of a streamed completion.

    Raises LookupError, TypeError, ValueError or AttributeError.
    """
    choices = payload.get("choices") or ()
    usage = read_usage(payload["usage"]) if payload.get("usage") else None
    if not choices:
        return Chunk("", usage=usage)
    choice = choices[0]
    ids = tuple(choice.get("token_ids") or ())
    scores: tuple[TokenLogprob, ...] = ()
    if logprobs := choice.get("logprobs"):
        tops = logprobs.get("starcoder_top") or [()] * len(ids)
        scores = tuple(
            TokenLogprob(id_, value, tuple((int(i), float(v)) for i, v in top or ()))
            for id_, value, top in zip(ids, logprobs["token_logprobs"], tops, strict=False)
        )
    ends = tuple(choice.get("starcoder_ends") or ())
    reason = finish_reason(choice.get("finish_reason"))
    return Chunk(text_of(choice.get("text")), ids, scores, ends, reason, usage)
