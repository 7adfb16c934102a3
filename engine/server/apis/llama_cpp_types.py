"""Requests and responses of llama.cpp's own API, `/completion` and `/infill`.

Source: llama.cpp's tools/server/README.md, and server-task.cpp and server-common.cpp for the
responses. `engine.server.openapi` describes these types.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import AliasChoices, Field

# pydantic reads these types, and before Python 3.12 it needs the TypedDict of this package.
from typing_extensions import TypedDict

from engine.api import Sampling
from engine.server.client_body import ClientBody, Ids, Name, StoppingBody
from engine.server.limits import (
    MAX_EXCERPTS,
    MAX_INT,
    MAX_RESPONSE_FIELDS,
    MAX_SEED,
)

_DEFAULT_TEMPERATURE = 0.8
_UNLIMITED = -1


class GenerationBody(StoppingBody):
    """The fields that all requests for an output share."""

    n_predict: Annotated[
        int,
        Field(
            ge=-2,
            le=MAX_INT,
            validation_alias=AliasChoices("n_predict", "max_tokens", "max_completion_tokens"),
        ),
    ] = _UNLIMITED
    """Maximum number of new tokens; negative is no limit, 0 computes the prompt only."""
    stream: bool = False
    temperature: Annotated[float | None, Field(le=10)] = None
    top_k: Annotated[int, Field(ge=-1, le=MAX_INT)] = 40
    top_p: Annotated[float, Field(ge=0, le=1)] = 0.95
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    seed: Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)] = -1
    n_indent: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    """Minimum indentation of all lines but the first; a line with less ends the output."""
    t_max_predict_ms: Annotated[float, Field(ge=-1, le=MAX_INT)] = 0
    """Milliseconds of decoding after which the next line feed ends the output; 0 is no limit."""
    return_tokens: bool = False
    response_fields: Annotated[
        list[Name], Field(max_length=MAX_RESPONSE_FIELDS, fail_fast=True)
    ] = Field(default_factory=list)
    """Fields that the response has; `object/field` moves a field of an object to the top."""

    def sampling(self, default_temperature: float = _DEFAULT_TEMPERATURE) -> Sampling:
        """Return the sampling parameters. A temperature of 0 or less is greedy."""
        temperature = default_temperature if self.temperature is None else self.temperature
        return Sampling(
            max(0.0, temperature),
            self.top_p or 1e-9,
            max(0, self.top_k),
            self.repeat_penalty,
            None if self.seed < 0 else self.seed,
        )


class LlamaCompletionBody(GenerationBody):
    """The body of `POST /completion`."""

    prompt: str | Ids


class ExtraText(ClientBody):
    """An excerpt of another file."""

    text: str
    filename: Name = ""


class InfillBody(GenerationBody):
    """The body of `POST /infill`."""

    input_prefix: str
    input_suffix: str
    input_extra: Annotated[list[ExtraText], Field(max_length=MAX_EXCERPTS, fail_fast=True)] = Field(
        default_factory=list
    )
    prompt: str = ""
    """Text after the prefix with which the middle begins, such as the start of a line."""


class Timings(TypedDict):
    """Numbers of tokens and times in milliseconds."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class LlamaCompletion(TypedDict, total=False):
    """The response of `/completion` and `/infill`, or one event of its stream.

    The events before the last one have `index`, `content`, `tokens`, `stop`, `id_slot`,
    `tokens_predicted` and `tokens_evaluated`. With `response_fields` any field may be absent.
    """

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: bool
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    prompt: str
    has_new_line: bool
    truncated: bool
    stop_type: str
    stopping_word: str
    tokens_cached: int
    timings: Timings


class LlamaErrorDetail(TypedDict):
    """What is wrong, and what to do."""

    code: int
    """The HTTP status."""
    message: str
    type: str


class LlamaErrorBody(TypedDict):
    """The body of a response with an error status."""

    error: LlamaErrorDetail


class Props(TypedDict):
    """The response of `/props`: the model and the default settings."""

    default_generation_settings: dict[str, Any]
    total_slots: int
    model_path: str
    model_alias: str
    chat_template: str
    modalities: dict[str, bool]
    build_info: str
    is_sleeping: NotRequired[bool]
