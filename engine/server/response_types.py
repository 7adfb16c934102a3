"""The JSON objects of responses, as OpenAI's API defines them, with our extensions.

Source: OpenAI's API reference, "Completions", "Chat" and "Models". `engine.server.openapi`
generates the description of the HTTP interface from these types.
"""

from __future__ import annotations

from typing import NotRequired

# pydantic reads these types, and before Python 3.12 it needs the TypedDict of this package.
from typing_extensions import TypedDict

from engine.api import EngineInfo


class ErrorDetail(TypedDict):
    """What is wrong, and what to do."""

    message: str
    type: str
    """`kind` of the class in `engine.errors`."""
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every response with an error status."""

    error: ErrorDetail


class PromptDetails(TypedDict):
    """Details of the tokens of the prompt."""

    cached_tokens: int


class UsageDetails(TypedDict):
    """Times and draft tokens: our extension."""

    prefill_ms: float
    decode_ms: float
    drafted_tokens: int
    accepted_tokens: int


class UsageBody(TypedDict):
    """The cost of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    starcoder: UsageDetails


class ResponseObject(TypedDict):
    """What all responses with choices have, and all events of their streams."""

    id: str
    object: str
    created: int
    model: str
    usage: NotRequired[UsageBody]


class CompletionLogprobs(TypedDict):
    """Log-probabilities of a completion; the first token of an echoed prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    starcoder_top: list[list[tuple[int, float]] | None]
    """The alternatives by id, since two ids may have the same text: our extension."""


class CompletionChoice(TypedDict):
    """One output of a completion request."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    token_ids: NotRequired[list[int]]
    starcoder_ends: NotRequired[list[int]]
    """`engine.api.Chunk.ends`: our extension."""


class Completion(ResponseObject):
    """The response of `/v1/completions`, or one event of its stream."""

    choices: list[CompletionChoice]


class TokenScore(TypedDict):
    """The log-probability of a token."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenScore(TokenScore):
    """The log-probability of a token of an answer, and of its likeliest alternatives."""

    top_logprobs: list[TokenScore]


class ChatLogprobs(TypedDict):
    """Log-probabilities of an answer."""

    content: list[ChatTokenScore]


class ChatAnswer(TypedDict):
    """The message of the assistant."""

    role: str
    content: str
    refusal: None


class ChatDelta(TypedDict, total=False):
    """A piece of the message of the assistant."""

    role: str
    content: str


class ChatChoice(TypedDict):
    """One answer, or one piece of it in a stream."""

    index: int
    message: NotRequired[ChatAnswer]
    delta: NotRequired[ChatDelta]
    finish_reason: str | None
    logprobs: ChatLogprobs | None


class ChatCompletion(ResponseObject):
    """The response of `/v1/chat/completions`, or one event of its stream."""

    choices: list[ChatChoice]


class ModelEntry(TypedDict):
    """A model, or an adapter, which has a parent."""

    id: str
    object: str
    created: int
    owned_by: str
    max_model_len: NotRequired[int]
    parent: NotRequired[str]
    starcoder: NotRequired[EngineInfo]


class ModelList(TypedDict):
    """The response of `/v1/models`."""

    object: str
    data: list[ModelEntry]
