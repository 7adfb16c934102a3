"""What the bodies of all APIs have in common."""

from typing import Any

import pytest
from pydantic import BaseModel

from engine.server.apis.llama_cpp_types import ExtraText, InfillBody, LlamaCompletionBody
from engine.server.apis.ollama_types import (
    GenerateBody,
    OllamaChatBody,
    OllamaMessage,
    Options,
    ShowBody,
)
from engine.server.schema import ChatBody, CompletionBody, FimBody, StreamOptions

BODIES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (ChatBody, {"messages": []}),
    (CompletionBody, {"prompt": "x"}),
    (ExtraText, {"text": "x"}),
    (FimBody, {"prompt": "x"}),
    (GenerateBody, {}),
    (InfillBody, {"input_prefix": "x", "input_suffix": "y"}),
    (LlamaCompletionBody, {"prompt": "x"}),
    (OllamaChatBody, {}),
    (OllamaMessage, {"role": "user"}),
    (Options, {}),
    (ShowBody, {}),
    (StreamOptions, {}),
]


@pytest.mark.parametrize(("model", "required"), BODIES)
def test_null_means_the_default_in_every_object(
    model: type[BaseModel], required: dict[str, Any]
) -> None:
    optional = set(model.model_fields) - set(required)
    assert optional
    assert model.model_validate(required | dict.fromkeys(optional)) == model(**required)


@pytest.mark.parametrize(
    ("model", "required"), [entry for entry in BODIES if "stop" in entry[0].model_fields]
)
def test_an_empty_stop_string_is_none(
    model: type[CompletionBody], required: dict[str, Any]
) -> None:
    stops = {str(stop): model(**required, stop=stop).stops for stop in ("", "x", ["", "x"], [])}
    assert stops == {"": (), "x": ("x",), "['', 'x']": ("x",), "[]": ()}
