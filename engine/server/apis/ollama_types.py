"""Requests and responses of Ollama's API, as completion plugins use it.

Source: Ollama's documentation, docs/api.md. `engine.server.openapi` describes these types.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field

# pydantic reads these types, and before Python 3.12 it needs the TypedDict of this package.
from typing_extensions import TypedDict

from engine.api import Sampling
from engine.server.client_body import ClientBody, Name, StoppingBody
from engine.server.limits import (
    MAX_INT,
    MAX_MESSAGES,
    MAX_SEED,
)


class Options(StoppingBody):
    """The field `options`, with the defaults of Ollama except for the penalty of repetitions."""

    num_predict: Annotated[int, Field(ge=-2, le=MAX_INT)] = -1
    """Maximum number of new tokens; negative is no limit."""
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.8
    top_k: Annotated[int, Field(ge=-1, le=MAX_INT)] = 40
    top_p: Annotated[float, Field(ge=0, le=1)] = 0.9
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    seed: Annotated[int | None, Field(ge=-MAX_SEED, le=MAX_SEED)] = None

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters."""
        return Sampling(
            self.temperature,
            self.top_p or 1e-9,
            max(0, self.top_k),
            self.repeat_penalty,
            self.seed,
        )


class OllamaBody(ClientBody):
    """The fields that requests for an output share."""

    model: Name = ""
    stream: bool = True
    options: Options = Field(default_factory=Options)


class GenerateBody(OllamaBody):
    """The body of `POST /api/generate`."""

    prompt: str = ""
    """Empty only asks for the model to be loaded."""
    suffix: str = ""
    system: str = ""
    raw: bool = False
    """Whether the prompt is complete, so that no chat template is applied."""


class OllamaMessage(ClientBody):
    """One message of a conversation."""

    role: Name
    content: str = ""


class OllamaChatBody(OllamaBody):
    """The body of `POST /api/chat`."""

    messages: Annotated[list[OllamaMessage], Field(max_length=MAX_MESSAGES, fail_fast=True)] = (
        Field(default_factory=list)
    )


class ShowBody(ClientBody):
    """The body of `POST /api/show`; older clients send `name`."""

    model: Name = ""
    name: Name = ""


class Duration(TypedDict):
    """Times in nanoseconds and numbers of tokens, in the last object of a response."""

    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]


class Generated(Duration):
    """The response of `/api/generate`, or one line of its stream."""

    model: str
    created_at: str
    response: str
    done: bool
    done_reason: NotRequired[str]


class AnswerMessage(TypedDict):
    """The message of the assistant, or a piece of it."""

    role: str
    content: str


class OllamaAnswer(Duration):
    """The response of `/api/chat`, or one line of its stream."""

    model: str
    created_at: str
    message: AnswerMessage
    done: bool
    done_reason: NotRequired[str]


class ModelDetails(TypedDict):
    """Details of a model."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class TaggedModel(TypedDict):
    """An entry of the list of models."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ModelDetails
    expires_at: NotRequired[str]
    size_vram: NotRequired[int]


class Tags(TypedDict):
    """The response of `/api/tags` and `/api/ps`."""

    models: list[TaggedModel]


class Show(TypedDict):
    """The response of `/api/show`."""

    modelfile: str
    parameters: str
    template: str
    details: ModelDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class Version(TypedDict):
    """The response of `/api/version`."""

    version: str


class OllamaErrorBody(TypedDict):
    """The body of a response with an error status."""

    error: str
