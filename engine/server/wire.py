"""Responses and errors as OpenAI's API writes them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence

from starlette.responses import JSONResponse

from engine.api import Chunk, TokenLogprob, Usage
from engine.errors import StarcoderError
from engine.tokenizer import Tokenizer

JsonObject = dict[str, object]
"""A JSON object of a response."""

DONE = "data: [DONE]\n\n"


def event(payload: JsonObject) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(payload)}\n\n"


def error_body(error: StarcoderError, param: str | None = None) -> JsonObject:
    """Return OpenAI's error object. Our client recreates the exception from its `type`."""
    return {
        "error": {
            "message": error.user_message,
            "type": error.kind,
            "param": param,
            "code": None,
        }
    }


def error_response(error: StarcoderError, param: str | None = None) -> JSONResponse:
    """Return an error with its HTTP status."""
    return JSONResponse(error_body(error, param), error.http_status)


class ResponseBuilder:
    """Builds the response object of one request, or the objects of its stream.

    All of them have the same id, type, time and model.
    """

    def __init__(self, kind: str, id_prefix: str, model: str) -> None:
        self._fields = {
            "id": f"{id_prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def build(self, choices: Sequence[JsonObject], usage: Usage | None = None) -> JsonObject:
        """Return a response object with these choices."""
        body: JsonObject = {**self._fields, "choices": choices}
        if usage is not None:
            body["usage"] = usage_body(usage)
        return body


def usage_body(usage: Usage) -> JsonObject:
    """Return OpenAI's usage object, with times and draft tokens as our extension."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.reused_tokens},
        "starcoder": {
            "prefill_ms": usage.prefill_ms,
            "decode_ms": usage.decode_ms,
            "drafted_tokens": usage.drafted_tokens,
            "accepted_tokens": usage.accepted_tokens,
        },
    }


def total_usage(usages: Sequence[Usage]) -> Usage:
    """Return the sum of the usage of several outputs."""
    return Usage(
        sum(u.prompt_tokens for u in usages),
        sum(u.completion_tokens for u in usages),
        sum(u.reused_tokens for u in usages),
        sum(u.prefill_ms for u in usages),
        sum(u.decode_ms for u in usages),
        sum(u.drafted_tokens for u in usages),
        sum(u.accepted_tokens for u in usages),
    )


def completion_choice(
    index: int, chunk: Chunk, logprobs: JsonObject | None, *, with_ids: bool
) -> JsonObject:
    """Return a choice of a streamed `/v1/completions`."""
    choice: JsonObject = {
        "index": index,
        "text": chunk.text,
        "logprobs": logprobs,
        "finish_reason": chunk.finish,
    }
    if with_ids:
        choice["token_ids"] = chunk.ids
        choice["starcoder_ends"] = chunk.ends
    return choice


def completion_logprobs(
    scores: Sequence[TokenLogprob | None], ids: Sequence[int], tokenizer: Tokenizer, offset: int
) -> JsonObject:
    """Return the log-probabilities of `/v1/completions`.

    `offset` is the first token's offset in the text, in characters. Token ids are included as an
    extension, since two ids may have the same text.
    """
    texts = [_token_text(id_, tokenizer) for id_ in ids]
    offsets = [offset + sum(map(len, texts[:index])) for index in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": [None if score is None else score.logprob for score in scores],
        "top_logprobs": [
            None
            if score is None
            else {_token_text(id_, tokenizer): value for id_, value in score.top}
            for score in scores
        ],
        "text_offset": offsets,
        "starcoder_top": [None if score is None else list(score.top) for score in scores],
    }


def chat_logprobs(scores: Sequence[TokenLogprob], tokenizer: Tokenizer) -> JsonObject:
    """Return the log-probabilities of `/v1/chat/completions`."""

    def entry(id_: int, logprob: float) -> JsonObject:
        text = _token_text(id_, tokenizer)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            entry(s.id, s.logprob)
            | {"top_logprobs": [entry(*alternative) for alternative in s.top]}
            for s in scores
        ]
    }


def _token_text(id_: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([id_], skip_special=False)
