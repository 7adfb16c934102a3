"""vLLM: token ids in both directions, and a list of the tokens that an output may consist of.

Fields: docs.vllm.ai, "OpenAI-Compatible Server", extra parameters of the Completions API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from engine.api import GenerationRequest, TokenLogprob
from engine.client.servers.base import (
    Event,
    Piece,
    Server,
    finish_reason,
    first_choice,
    openai_body,
    read_usage,
    text_of,
)
from engine.tokenizer import Tokenizer

_ID = re.compile(r"token_id:(\d+)")


class VllmServer(Server):
    """vLLM, also through a router that passes its fields on."""

    name = "vLLM"
    # vLLM refuses more, unless it was started with a larger --max-logprobs.
    max_alternatives: ClassVar[int] = 20

    def body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """See `Server.body`."""
        sampling = request.sampling
        body = openai_body(request, model) | {
            "stop_token_ids": sorted(request.stop_ids),
            "top_k": sampling.top_k,
            "repetition_penalty": sampling.repetition_penalty,
            "priority": int(request.priority),
            "return_token_ids": True,
        }
        if request.logprobs is not None:
            body["logprobs"] = min(request.logprobs, self.max_alternatives)
            body["return_tokens_as_token_ids"] = True
        return body

    def restriction(self, ids: Sequence[int]) -> dict[str, Any]:
        """See `Server.restriction`."""
        return {"allowed_token_ids": list(ids)}

    def read(self, payload: Mapping[str, Any], tokenizer: Tokenizer) -> Event:
        """See `Server.read`."""
        choice = first_choice(payload)
        usage = payload.get("usage")
        ids = choice.get("token_ids")
        text = text_of(choice.get("text"))
        pieces: tuple[Piece, ...]
        if ids:
            scores = _scores(choice.get("logprobs") or {})
            scores += [None] * (len(ids) - len(scores))
            pieces = tuple(
                Piece(None, int(id_), score) for id_, score in zip(ids, scores, strict=False)
            )
        else:  # text that was held back, or a version that does not report ids
            pieces = (Piece(text),) if text and ids is None else ()
        reason = finish_reason(choice.get("finish_reason"))
        return Event(pieces, reason, read_usage(usage) if usage else None)


def _scores(logprobs: Mapping[str, Any]) -> list[TokenLogprob | None]:
    """Read log-probabilities whose tokens are written as `token_id:N`."""
    tokens, values = logprobs.get("tokens") or (), logprobs.get("token_logprobs") or ()
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    return [
        None
        if value is None or (id_ := _token_id(token)) is None
        else TokenLogprob(id_, float(value), _alternatives(top or {}))
        for token, value, top in zip(tokens, values, tops, strict=True)
    ]


def _alternatives(top: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    pairs = [(_token_id(token), float(value)) for token, value in top.items()]
    alternatives = [(id_, value) for id_, value in pairs if id_ is not None]
    return tuple(sorted(alternatives, key=lambda pair: -pair[1]))


def _token_id(token: str) -> int | None:
    match = _ID.fullmatch(token)
    return int(match[1]) if match else None
