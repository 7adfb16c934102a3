"""llama.cpp's server: its own format, which reports ids, and its logit bias.

Fields: tools/server/README.md of llama.cpp, "POST /completion".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from engine.api import FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.client.servers.base import Event, Piece, Server, stop_strings, text_of
from engine.tokenizer import Tokenizer

_WHOLE_WINDOW = 2**31 - 1
_LARGE_BIAS = 1000.0
"""A number that is larger than any difference of logits."""


class LlamaCppServer(Server):
    """llama.cpp's server, asked through `/completion`."""

    name = "llama.cpp"
    path = "/completion"
    max_alternatives: ClassVar[int] = 100

    def body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """See `Server.body`."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": request.adapter or model,
            "prompt": list(request.prompt),
            "n_predict": request.max_new_tokens,
            "stream": True,
            "stop": stop_strings(request),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,  # its default is not 0
            "repeat_penalty": sampling.repetition_penalty,
            "repeat_last_n": _WHOLE_WINDOW,
            "cache_prompt": True,
            "return_tokens": True,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if request.logprobs is not None:
            body["n_probs"] = min(max(1, request.logprobs), self.max_alternatives)
        return body

    def restriction(self, ids: Sequence[int]) -> dict[str, Any]:
        """See `Server.restriction`. The reported log-probabilities are those without the bias."""
        return {"logit_bias": [[id_, _LARGE_BIAS] for id_ in ids]}

    def read(self, payload: Mapping[str, Any], tokenizer: Tokenizer) -> Event:
        """See `Server.read`.

        An event has the text that can be sent now, and the last token of this text. Tokens before
        it that left a character incomplete are not reported.
        """
        text = text_of(payload.get("content"))
        if payload.get("stop"):
            is_limit = payload.get("stop_type") == "limit" or payload.get("stopped_limit")
            finish = FinishReason.LENGTH if is_limit else FinishReason.STOP
            return Event((Piece(text),) if text else (), finish, _usage(payload))
        ids = list(payload.get("tokens") or ())
        scores = [_score(each) for each in payload.get("completion_probabilities") or ()]
        if len(ids) != 1:
            return Event((Piece(text),) if text else ())
        return Event((Piece(text, int(ids[0]), next(iter(scores), None)),))


def _score(entry: Mapping[str, Any]) -> TokenLogprob:
    top = [(int(each["id"]), float(each["logprob"])) for each in entry.get("top_logprobs") or ()]
    return TokenLogprob(int(entry["id"]), float(entry["logprob"]), tuple(top))


def _usage(payload: Mapping[str, Any]) -> Usage:
    times = payload.get("timings") or {}
    return Usage(
        prompt_tokens=payload.get("tokens_evaluated") or 0,
        completion_tokens=payload.get("tokens_predicted") or 0,
        reused_tokens=times.get("cache_n") or 0,
        prefill_ms=times.get("prompt_ms") or 0.0,
        decode_ms=times.get("predicted_ms") or 0.0,
    )
