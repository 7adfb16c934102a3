"""What the client must know about a kind of server: its requests, its answers, its abilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.api import FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.tokenizer import Tokenizer

DEFAULT_WINDOW = 2048
"""Context window, in tokens, of a server that does not report one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an output, as a server reports it: usually one token."""

    text: str | None
    """Text of the piece; None if the client must decode `id`."""
    id: int | None = None
    """Token id; None if the server reports text only."""
    score: TokenLogprob | None = None
    """Log-probability of `id`, if reported."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a streamed output."""

    pieces: tuple[Piece, ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None


class Server(ABC):
    """A kind of server that is not ours.

    The client sends token ids, so that the prompt is exactly that of the tokenizer. Stop ids, stop
    text and `single_line` also work if a server ignores them: `servers.output` ends the output.
    """

    name: ClassVar[str]
    """Name for logs."""
    path: ClassVar[str] = "/v1/completions"
    """Where the server accepts completion requests."""
    max_alternatives: ClassVar[int]
    """Maximum number of alternatives per token that the server reports without being configured."""

    @abstractmethod
    def body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """Return the JSON body of a request. It does not mention the forced prefix."""

    @abstractmethod
    def restriction(self, ids: Sequence[int]) -> dict[str, Any]:
        """Return the fields that restrict every token of an output to some ids."""

    @abstractmethod
    def read(self, payload: Mapping[str, Any], tokenizer: Tokenizer) -> Event:
        """Read one event. Raises LookupError, TypeError, ValueError or AttributeError."""


def openai_body(request: GenerationRequest, model: str) -> dict[str, Any]:
    """Return the fields of a request that every server with OpenAI's API knows."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": request.adapter or model,
        "prompt": list(request.prompt),
        "max_tokens": request.max_new_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if stop := stop_strings(request):
        body["stop"] = stop
    return body


def stop_strings(request: GenerationRequest) -> list[str]:
    """Return the strings at which the server may end the output.

    A server would also find them in the forced prefix, where they do not count. If that may happen,
    only the client ends the output.
    """
    # No server knows exceptions to `single_line`. Without exceptions it is a stop string.
    ends_at_line_feed = request.single_line and not request.continue_line_after
    stop = [*request.stop_text, *(["\n"] if ends_at_line_feed else [])]
    return [text for text in stop if text and text[0] not in request.forced_prefix]


def finish_reason(value: object) -> FinishReason | None:
    """Return the reason for the end of an output, None if it goes on."""
    if value is None or value == "":
        return None
    return FinishReason.LENGTH if value == "length" else FinishReason.STOP


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """Read the field `usage` of OpenAI's API, with our times if the server reports them."""
    times = usage.get("starcoder") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        usage.get("prompt_tokens") or 0,
        usage.get("completion_tokens") or 0,
        details.get("cached_tokens") or 0,
        times.get("prefill_ms", 0.0),
        times.get("decode_ms", 0.0),
        times.get("drafted_tokens", 0),
        times.get("accepted_tokens", 0),
    )


def first_choice(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the only choice of an event of OpenAI's API; empty if the event has none."""
    choices = payload.get("choices") or ()
    choice: Mapping[str, Any] = choices[0] if choices else {}
    return choice


def text_of(value: object) -> str:
    """Return the text of an event; null is an empty text. Raises TypeError for anything else."""
    if value is None or isinstance(value, str):
        return value or ""
    raise TypeError("the text of an event is not a string")
