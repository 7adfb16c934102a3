"""Responses and errors as OpenAI's API writes them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate

from starlette.responses import JSONResponse

from engine.api import Chunk, TokenLogprob, Usage
from engine.errors import StarcoderError
from engine.server.response_types import (
    ChatChoice,
    ChatCompletion,
    ChatDelta,
    ChatLogprobs,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    ErrorBody,
    ResponseObject,
    TokenScore,
    UsageBody,
)
from engine.tokenizer import Tokenizer

_SLICE = 500
"""Number of entries of a long list that are encoded at a time. The encoder keeps the interpreter
lock; this many entries take a few milliseconds."""

_MIN_LOGPROB = -9999.0
"""Log-probability of an impossible token, as in OpenAI's API."""

DONE = "data: [DONE]\n\n"


def event(payload: Mapping[str, object]) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(payload)}\n\n"


def encode(payload: Mapping[str, object]) -> bytes:
    """Return a JSON object, in UTF-8. Other threads run in between, however long it is."""
    return "".join(_encode(payload)).encode()


def _encode(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield "{"
        for index, (key, entry) in enumerate(value.items()):
            yield f"{', ' if index else ''}{json.dumps(key)}: "
            yield from _encode(entry)
        yield "}"
    elif isinstance(value, list) and len(value) > _SLICE:
        yield "["
        for start in range(0, len(value), _SLICE):
            yield (", " if start else "") + json.dumps(value[start : start + _SLICE])[1:-1]
        yield "]"
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        yield "["
        for index, entry in enumerate(value):
            yield ", " if index else ""
            yield from _encode(entry)
        yield "]"
    else:
        yield json.dumps(value)


def error_object(message: str, kind: str, code: str | None = None) -> ErrorBody:
    """Return OpenAI's error object. Our client recreates the exception from `kind`."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_body(error: StarcoderError) -> ErrorBody:
    """Return OpenAI's error object for an exception."""
    return error_object(error.user_message, error.kind)


def error_response(error: StarcoderError) -> JSONResponse:
    """Return an error with its HTTP status."""
    return JSONResponse(error_body(error), error.http_status)


class ResponseBuilder:
    """Builds the response object of one request, or the objects of its stream.

    All of them have the same id, type, time and model.
    """

    def __init__(self, kind: str, id_prefix: str, model: str) -> None:
        self._id = f"{id_prefix}-{uuid.uuid4().hex}"
        self._kind, self._model = kind, model
        self._created = int(time.time())

    def completion(
        self, choices: Sequence[CompletionChoice], usage: Usage | None = None
    ) -> Completion:
        """Return a response object of `/v1/completions` with these choices."""
        return {**self._object(usage), "choices": list(choices)}

    def chat_completion(
        self, choices: Sequence[ChatChoice], usage: Usage | None = None
    ) -> ChatCompletion:
        """Return a response object of `/v1/chat/completions` with these choices."""
        return {**self._object(usage), "choices": list(choices)}

    def _object(self, usage: Usage | None) -> ResponseObject:
        body: ResponseObject = {
            "id": self._id,
            "object": self._kind,
            "created": self._created,
            "model": self._model,
        }
        if usage is not None:
            body["usage"] = usage_body(usage)
        return body


def usage_body(usage: Usage) -> UsageBody:
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
    text: str, finish: str | None, logprobs: CompletionLogprobs | None, index: int = 0
) -> CompletionChoice:
    """Return a choice of `/v1/completions`."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def completion_piece(
    chunk: Chunk, logprobs: CompletionLogprobs | None, *, with_ids: bool
) -> CompletionChoice:
    """Return the choice of an event of a streamed `/v1/completions`."""
    choice = completion_choice(chunk.text, chunk.finish, logprobs)
    if with_ids:
        choice["token_ids"] = list(chunk.ids)
        choice["starcoder_ends"] = list(chunk.ends)
    return choice


def chat_choice(text: str, finish: str, logprobs: ChatLogprobs | None = None) -> ChatChoice:
    """Return the choice of an API whose response is that of a chat."""
    return {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": finish,
        "logprobs": logprobs,
    }


def chat_piece(
    delta: ChatDelta, finish: str | None = None, logprobs: ChatLogprobs | None = None
) -> ChatChoice:
    """Return the choice of an event of such an API."""
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}


def completion_logprobs(
    scores: Sequence[TokenLogprob | None], ids: Sequence[int], tokenizer: Tokenizer, offset: int
) -> CompletionLogprobs:
    """Return the log-probabilities of `/v1/completions`.

    `offset` is the first token's offset in the text, in characters. Token ids are included as an
    extension, since two ids may have the same text.
    """
    text_of = _token_texts(tokenizer)
    texts = [text_of(id_) for id_ in ids]
    offsets = list(accumulate(map(len, texts), initial=offset))[:-1]
    tops = [None if score is None else _finite(score.top) for score in scores]
    return {
        "tokens": texts,
        "token_logprobs": [None if score is None else _json_logprob(score) for score in scores],
        "top_logprobs": [
            # Of several ids with the same text, the likeliest one counts: they are sorted.
            None if top is None else {text_of(id_): value for id_, value in reversed(top)}
            for top in tops
        ],
        "text_offset": offsets,
        "starcoder_top": tops,
    }


def chat_logprobs(scores: Sequence[TokenLogprob], tokenizer: Tokenizer) -> ChatLogprobs:
    """Return the log-probabilities of `/v1/chat/completions`."""
    text_of = _token_texts(tokenizer)

    def entry(id_: int, logprob: float) -> TokenScore:
        text = text_of(id_)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            {
                **entry(score.id, _json_logprob(score)),
                "top_logprobs": [entry(*alternative) for alternative in _finite(score.top)],
            }
            for score in scores
        ]
    }


def _token_texts(tokenizer: Tokenizer) -> Callable[[int], str]:
    """Return a function for the text of a token, which remembers its results."""
    return cache(lambda id_: tokenizer.decode([id_], skip_special=False))


def _json_logprob(score: TokenLogprob) -> float:
    return max(score.logprob, _MIN_LOGPROB)


def _finite(top: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the alternatives that are possible at all; JSON has no infinity."""
    return [pair for pair in top if pair[1] > _MIN_LOGPROB]
