"""Bodies of requests as OpenAI's API defines them, with vLLM's and our own extensions.

Source: OpenAI's API reference, "Completions" and "Chat". `stop_token_ids`, `top_k`,
`repetition_penalty`, `priority` and `return_token_ids` have the same meaning as in vLLM.
`engine.server.fields` decides on all other fields.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, cast

from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from engine.api import Memory, Priority, Sampling
from engine.server.client_body import ClientBody, Id, Ids, Name, StoppingBody, Stops
from engine.server.limits import (
    MAX_ALTERNATIVES,
    MAX_DRAFT_TOKENS,
    MAX_FORCED_PREFIX,
    MAX_INT,
    MAX_MESSAGES,
    MAX_PASSAGE,
    MAX_PASSAGES,
    MAX_PROMPTS,
    MAX_SEED,
    MAX_STOP_IDS,
)

_DEFAULT_COMPLETION_TOKENS = 16
_DEFAULT_CHAT_TOKENS = 512

_Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
_IdLists = Annotated[list[Ids], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]


class StreamOptions(ClientBody):
    """The field `stream_options`."""

    include_usage: bool = False


_Passage = Annotated[str, Field(max_length=MAX_PASSAGE)]


class MemoryBody(ClientBody):
    """The field `memory`, see `engine.api.Memory` (our extension)."""

    before: _Passage = ""
    passages: Annotated[list[_Passage], Field(max_length=MAX_PASSAGES, fail_fast=True)] = Field(
        default_factory=list
    )
    is_mixed: bool = True
    is_draft: bool = True

    @property
    def memory(self) -> Memory:
        """The passages as the engine takes them."""
        return Memory(self.before, tuple(self.passages), self.is_mixed, self.is_draft)


class RequestBody(StoppingBody):
    """The fields that completion and chat requests share."""

    model: Name | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=MAX_INT)] = 0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    seed: Annotated[int | None, Field(ge=-MAX_SEED, le=MAX_SEED)] = None
    n: Annotated[int, Field(ge=1, le=1)] = 1
    stop_token_ids: Annotated[list[Id], Field(max_length=MAX_STOP_IDS, fail_fast=True)] = Field(
        default_factory=list
    )
    priority: Annotated[int | None, Field(ge=-MAX_INT, le=MAX_INT)] = None
    adapter: Name | None = None
    """Name of a LoRA adapter (our extension). As in vLLM, `model` may name it instead."""
    draft_tokens: Annotated[list[Id], Field(max_length=MAX_DRAFT_TOKENS, fail_fast=True)] = Field(
        default_factory=list
    )
    """See `engine.api.GenerationRequest.draft_tokens` (our extension)."""
    forced_prefix: Annotated[str, Field(max_length=MAX_FORCED_PREFIX)] = ""
    """See `engine.api.GenerationRequest.forced_prefix` (our extension)."""
    memory: MemoryBody | None = None
    """See `engine.api.GenerationRequest.memory` (our extension)."""
    single_line: bool = False
    """See `engine.api.GenerationRequest.single_line` (our extension)."""
    continue_line_after: Stops = Field(default_factory=list)
    """See `engine.api.GenerationRequest.continue_line_after` (our extension)."""

    @property
    def sampling(self) -> Sampling:
        """Sampling parameters. OpenAI's default temperature is 1; greedy decoding needs 0."""
        return Sampling(
            self.temperature, self.top_p, max(0, self.top_k), self.repetition_penalty, self.seed
        )

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with an event that reports the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def priority_or(self, default: Priority) -> Priority:
        """Return the requested priority, clamped to the range of `Priority`."""
        if self.priority is None:
            return default
        return Priority(min(max(self.priority, min(Priority)), max(Priority)))


class CompletionBody(RequestBody):
    """The body of `POST /v1/completions`."""

    prompt: str | Ids | _Texts | _IdLists
    max_tokens: Annotated[int | None, Field(ge=0, le=MAX_INT)] = _DEFAULT_COMPLETION_TOKENS
    logprobs: Annotated[int | None, Field(ge=0, le=MAX_ALTERNATIVES)] = None
    echo: bool = False
    return_token_ids: bool = False
    suffix: str | None = None
    """Text after the output: the model fills in between prompt and suffix. Empty is no suffix."""
    parse_special: bool | None = None
    """Whether names of special tokens in a text prompt become those tokens, as in llama.cpp.

    By default they do only in a prompt that begins with such a name.
    """

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts as a list, also if there is only one."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(cast("list[str | list[int]]", self.prompt))

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens to generate."""
        return _DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens


class FimBody(RequestBody):
    """The body of `POST /v1/fim/completions`, as in Mistral's API."""

    prompt: str
    suffix: str = ""
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_INT)] = None
    """Maximum number of new tokens; without it the output ends at the context window."""
    random_seed: Annotated[int | None, Field(ge=-MAX_SEED, le=MAX_SEED)] = None

    @property
    def sampling(self) -> Sampling:
        """Sampling parameters, with Mistral's name of the seed."""
        seed = self.seed if self.random_seed is None else self.random_seed
        return replace(super().sampling, seed=seed)


class ChatContent(BaseModel):
    """One part of a message's content; only text is supported."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of the conversation."""

    role: Name
    content: str | Annotated[list[ChatContent], Field(max_length=MAX_MESSAGES, fail_fast=True)]

    @property
    def text(self) -> str:
        """The text parts of the content, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(RequestBody):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(max_length=MAX_MESSAGES, fail_fast=True)]
    max_tokens: Annotated[int | None, Field(ge=-1, le=MAX_INT)] = None
    """As in llama.cpp, -1 is no limit, which llama.vscode sends."""
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_INT)] = None
    n_predict: Annotated[int | None, Field(ge=-2, le=MAX_INT)] = None
    """llama.cpp's name of `max_tokens`; 0 computes the prompt only, before the user needs it."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MAX_ALTERNATIVES)] = None

    @field_validator("max_tokens")
    @classmethod
    def _is_not_zero(cls, value: int | None) -> int | None:
        if value == 0:
            raise PydanticCustomError("too_small", "the smallest value is 1")
        return value

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens to generate."""
        numbers = (self.max_completion_tokens, self.max_tokens, self.n_predict)
        number = next((each for each in numbers if each is not None), _DEFAULT_CHAT_TOKENS)
        return MAX_INT if number < 0 else max(1, number)

    @property
    def is_prefetch(self) -> bool:
        """Whether no answer is wanted: llama.cpp's plugins let the server read the prompt first."""
        return self.n_predict == 0
