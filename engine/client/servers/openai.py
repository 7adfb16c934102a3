"""Any other server with OpenAI's API, such as LiteLLM: only what that API documents.

Fields: the OpenAI API reference, "Completions" (legacy). Log-probabilities are also read in the
format of its chat API, which llama.cpp's server uses here.
"""

from __future__ import annotations

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

_MAX_STOP = 4
"""Maximum number of stop strings that OpenAI's API accepts."""
_LARGEST_BIAS = 100
_MAX_BIASES = 300
"""Maximum number of tokens with a bias that OpenAI's API accepts.

Byte-pair encoding gives small ids to frequent tokens.
"""


class OpenAiServer(Server):
    """A server of which only OpenAI's API is known."""

    name = "another server with OpenAI's API"
    max_alternatives: ClassVar[int] = 5

    def body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """See `Server.body`."""
        body = openai_body(request, model)
        if "stop" in body:
            body["stop"] = body["stop"][:_MAX_STOP]
        if request.logprobs is not None:
            body["logprobs"] = min(max(1, request.logprobs), self.max_alternatives)
        return body

    def restriction(self, ids: Sequence[int]) -> dict[str, Any]:
        """See `Server.restriction`."""
        return {"logit_bias": {str(id_): _LARGEST_BIAS for id_ in sorted(ids)[:_MAX_BIASES]}}

    def read(self, payload: Mapping[str, Any], tokenizer: Tokenizer) -> Event:
        """See `Server.read`."""
        choice = first_choice(payload)
        usage = payload.get("usage")
        text = text_of(choice.get("text"))
        scored = _scored_pieces(choice.get("logprobs") or {}, tokenizer)
        # A server may hold text back, or report tokens whose texts are not those of the output.
        if "".join(piece.text or "" for piece in scored) != text:
            scored = ()
        pieces = scored or ((Piece(text),) if text else ())
        reason = finish_reason(choice.get("finish_reason"))
        return Event(pieces, reason, read_usage(usage) if usage else None)


def _scored_pieces(logprobs: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[Piece, ...]:
    """Return the tokens of an event, empty if the ids of some are unknown."""
    if "content" in logprobs:
        pieces = [_chat_piece(entry, tokenizer) for entry in logprobs["content"] or ()]
    else:
        tokens, values = logprobs.get("tokens") or (), logprobs.get("token_logprobs") or ()
        tops = logprobs.get("top_logprobs") or [None] * len(tokens)
        pieces = [
            _piece(token, value, (top or {}).items(), tokenizer)
            for token, value, top in zip(tokens, values, tops, strict=False)
        ]
    return tuple(piece for piece in pieces if piece is not None) if all(pieces) else ()


def _chat_piece(entry: Mapping[str, Any], tokenizer: Tokenizer) -> Piece | None:
    tops = entry.get("top_logprobs") or ()
    pairs = [(each["token"], each["logprob"]) for each in tops]
    return _piece(entry["token"], entry["logprob"], pairs, tokenizer)


def _piece(token: str, logprob: float | None, top: Any, tokenizer: Tokenizer) -> Piece | None:
    id_ = token_id(token, tokenizer)
    if id_ is None:
        return None
    if logprob is None:
        return Piece(token, id_)
    pairs = [(token_id(text, tokenizer), float(value)) for text, value in top]
    alternatives = sorted(
        ((id_, value) for id_, value in pairs if id_ is not None), key=lambda pair: -pair[1]
    )
    return Piece(token, id_, TokenLogprob(id_, float(logprob), tuple(alternatives)))


def token_id(text: str, tokenizer: Tokenizer) -> int | None:
    """Return the id of the token with a text, None if there is no such token."""
    return tokenizer.id_by_bytes.get(text.encode("utf-8", "surrogatepass"))
