"""Requests as OpenAI's API defines them, with the extensions that vLLM made common.

Source: OpenAI's API reference, "Completions" and "Chat"; `stop_token_ids`, `top_k`,
`repetition_penalty`, `priority` and `return_token_ids` mean what they mean in vLLM. Fields that are
not named here are ignored, as OpenAI's own server does.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from engine.api import Priority, Sampling

_DEFAULT_COMPLETION_TOKENS = 16
_DEFAULT_CHAT_TOKENS = 512

_T = TypeVar("_T")
_NotEmpty = Annotated[list[_T], Field(min_length=1)]


class StreamOptions(BaseModel):
    """`stream_options`."""

    include_usage: bool = False


class AnyRequest(BaseModel):
    """What both kinds of request share."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: Annotated[list[str], Field(max_length=16)] = []
    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1)] = 0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=1)] = 1
    stop_token_ids: list[int] = []
    priority: int | None = None
    adapter: str | None = None
    """Name of a LoRA adapter; vLLM takes it as `model`, which is understood too."""
    draft_tokens: list[int] = []
    """Ids that the answer may well begin with; see `engine.api.GenerationRequest`. Our own."""
    forced_prefix: str = ""
    """What the answer must begin with; see there. Our own."""
    single_line: bool = False
    """Whether the first line feed ends the output; see there. An extension of this server."""
    continue_line_after: list[str] = []
    """Line endings after which it does not; see there. An extension of this server."""

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [] if value is None else [value] if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_default(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[str(info.field_name)]
        return field.default if value is None and not field.is_required() else value

    @property
    def sampling(self) -> Sampling:
        """How ids are chosen. OpenAI's default temperature is 1: greedy is asked for with 0."""
        return Sampling(
            self.temperature, self.top_p, max(0, self.top_k), self.repetition_penalty, self.seed
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a usage event."""
        return self.stream_options is not None and self.stream_options.include_usage

    def priority_or(self, default: Priority) -> Priority:
        """Return the priority asked for, nearest to those we know."""
        if self.priority is None:
            return default
        return Priority(min(max(self.priority, min(Priority)), max(Priority)))


class CompletionRequest(AnyRequest):
    """`POST /v1/completions`."""

    prompt: str | _NotEmpty[int] | _NotEmpty[str] | _NotEmpty[list[int]]
    max_tokens: Annotated[int | None, Field(ge=0)] = _DEFAULT_COMPLETION_TOKENS
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    echo: bool = False
    return_token_ids: bool = False
    parse_special: bool = False
    """Read the names of special tokens in a text prompt as those tokens (llama.cpp's word)."""

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts as a list, also where one stands alone."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        single = [part for part in self.prompt if isinstance(part, int)]
        return [single] if single else [part for part in self.prompt if not isinstance(part, int)]

    @property
    def limit(self) -> int:
        """Tokens to write at most."""
        return _DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens


class ChatContent(BaseModel):
    """One part of a message's content; only text is understood."""

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """One turn."""

    role: str
    content: str | list[ChatContent]

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if part.type == "text")


class ChatRequest(AnyRequest):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None

    @property
    def limit(self) -> int:
        """Tokens to write at most."""
        return self.max_completion_tokens or self.max_tokens or _DEFAULT_CHAT_TOKENS
