"""Requests and responses of OpenAI's API, as the client writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.api import Chunk, EngineInfo, FinishReason, GenerationRequest, TokenLogprob, Usage

_DEFAULT_WINDOW = 2048
"""Context window, in tokens, of a server that does not report one."""


def request_body(request: GenerationRequest, model: str, *, is_ours: bool) -> dict[str, object]:
    """Return the JSON body of a request; other servers get no fields that only ours knows."""
    sampling = request.sampling
    # Other servers know no exceptions to `single_line`. Without exceptions it is a stop string.
    stop_at_line_end = not is_ours and request.single_line and not request.continue_line_after
    body: dict[str, object] = {
        "model": request.adapter or model,
        "prompt": list(request.prompt),
        "max_tokens": request.max_new_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop_token_ids": sorted(request.stop_ids),
        "stop": [*request.stop_text, *(["\n"] if stop_at_line_end else [])],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "priority": int(request.priority),
        "return_token_ids": True,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    if request.adapter is not None:
        body["adapter"] = request.adapter
    if is_ours:
        body |= {
            "draft_tokens": list(request.draft_tokens),
            "forced_prefix": request.forced_prefix,
            "single_line": request.single_line,
            "continue_line_after": list(request.continue_line_after),
        }
    return body


def is_our_model(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of `/v1/models` was written by this project's server."""
    return isinstance(entry.get("starcoder"), dict)


def read_info(entry: Mapping[str, Any]) -> EngineInfo:
    """Read an entry of `/v1/models`; other servers report less."""
    if is_our_model(entry):
        ours = entry["starcoder"]
        fields = {name: ours[name] for name in EngineInfo.__slots__ if name in ours}
        return EngineInfo(**{**fields, "adapters": tuple(fields.get("adapters", ()))})
    window = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx_train")
    return EngineInfo(
        model=entry["id"],
        model_type="",
        context_window=int(window or _DEFAULT_WINDOW),
        device="remote",
        dtype="",
        is_demo=False,
    )


def read_chunk(choice: Mapping[str, Any], text_before: str) -> Chunk:
    """Read a choice of a streamed completion, with `text_before` put in front of its text."""
    ids = tuple(choice.get("token_ids") or ())
    scores: tuple[TokenLogprob, ...] = ()
    if logprobs := choice.get("logprobs"):
        tops = logprobs.get("starcoder_top") or [()] * len(ids)
        scores = tuple(
            TokenLogprob(id_, value, tuple((int(i), float(v)) for i, v in top or ()))
            for id_, value, top in zip(ids, logprobs["token_logprobs"], tops, strict=False)
        )
    reason = choice.get("finish_reason")
    finish = None if reason is None else FinishReason(reason if reason == "length" else "stop")
    ends = () if text_before else tuple(choice.get("starcoder_ends") or ())
    return Chunk(text_before + (choice.get("text") or ""), ids, scores, ends, finish)


def with_usage(chunk: Chunk, usage: Mapping[str, Any]) -> Chunk:
    """Return the chunk with the usage that the server reported."""
    times = usage.get("starcoder") or {}
    details = usage.get("prompt_tokens_details") or {}
    return replace(
        chunk,
        usage=Usage(
            usage.get("prompt_tokens", 0),
            usage.get("completion_tokens", 0),
            details.get("cached_tokens") or 0,
            times.get("prefill_ms", 0.0),
            times.get("decode_ms", 0.0),
            times.get("drafted_tokens", 0),
            times.get("accepted_tokens", 0),
        ),
    )
