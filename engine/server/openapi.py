"""The OpenAPI description of the HTTP interface, generated from the types of its code."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from engine.api import Health
from engine.server.apis.llama_cpp_types import (
    InfillBody,
    LlamaCompletion,
    LlamaCompletionBody,
    LlamaErrorBody,
    Props,
)
from engine.server.apis.ollama_types import (
    GenerateBody,
    Generated,
    OllamaAnswer,
    OllamaChatBody,
    OllamaErrorBody,
    Show,
    ShowBody,
    Tags,
    Version,
)
from engine.server.fields import IGNORED_HEADER
from engine.server.limits import RETRY_AFTER_S
from engine.server.response_types import ChatCompletion, Completion, ErrorBody, ModelList
from engine.server.schema import ChatBody, CompletionBody, FimBody

_VERSION = "3.1.0"
_REFERENCE = "#/components/schemas/{model}"
_OPENAI_ERROR = "ErrorBody"
_BODIES: dict[str, Any] = {
    "ChatBody": ChatBody,
    "CompletionBody": CompletionBody,
    "FimBody": FimBody,
    "GenerateBody": GenerateBody,
    "InfillBody": InfillBody,
    "LlamaCompletionBody": LlamaCompletionBody,
    "OllamaChatBody": OllamaChatBody,
    "ShowBody": ShowBody,
}
_RESPONSES: dict[str, Any] = {
    "ChatCompletion": ChatCompletion,
    "Completion": Completion,
    "ErrorBody": ErrorBody,
    "Generated": Generated,
    "Health": Health,
    "LlamaCompletion": LlamaCompletion,
    "LlamaErrorBody": LlamaErrorBody,
    "ModelList": ModelList,
    "OllamaAnswer": OllamaAnswer,
    "OllamaErrorBody": OllamaErrorBody,
    "Props": Props,
    "Show": Show,
    "Tags": Tags,
    "Version": Version,
}

_COMMON_ERRORS = {
    "400": "The request cannot be used.",
    "401": "The token or key is missing or wrong.",
    "403": "The request names a foreign host, or the model's hub refuses access.",
    "404": "The model, the adapter or the URL does not exist.",
    "405": "The URL does not take this method.",
    "503": f"The engine is not ready or is busy; try again, after {RETRY_AFTER_S} s if it is busy.",
}
_BODY_ERRORS = {
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "429": "A limit of the user is reached; try again after the seconds in Retry-After.",
}


@cache
def describe() -> str:
    """Return the description as the text of a JSON document."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        *((name, "validation", TypeAdapter(model)) for name, model in _BODIES.items()),
        *((name, "serialization", TypeAdapter(model)) for name, model in _RESPONSES.items()),
    ]
    schemas, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
    components = dict(definitions.get("$defs", {}))
    references = {name: schema for (name, _), schema in schemas.items()}
    adapter = {"name": "adapter", "in": "query", "required": False, "schema": {"type": "string"}}
    content = {
        "/health": _health(_json(references["Health"])),
        "/metrics": _get("Metrics in Prometheus' text format.", _text("text/plain")),
        "/v1/models": _get("The model and its adapters.", _json(references["ModelList"])),
        "/tokenizer.json": {
            "get": _operation("The model's tokenizer.json.", _json({"type": "object"}))
            | {"parameters": [adapter]}
        },
        "/openapi.json": _get("This description.", _json({"type": "object"})),
        "/v1/completions": _post(
            "Complete a prompt.", references["CompletionBody"], references["Completion"]
        ),
        "/v1/chat/completions": _post(
            "Answer a conversation.", references["ChatBody"], references["ChatCompletion"]
        ),
        "/v1/fim/completions": _post(
            "Fill in between prompt and suffix (Mistral).",
            references["FimBody"],
            references["ChatCompletion"],
        ),
        **_llama_cpp_paths(references),
        **_ollama_paths(references),
    }
    document = {
        "openapi": _VERSION,
        "info": {
            "title": "starcoder-lsp's engine: the APIs of OpenAI, llama.cpp and Ollama",
            "version": "1",
        },
        "paths": content,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # The second, empty requirement stands for an engine without a token.
        "security": [{"token": []}, {}],
    }
    return json.dumps(document)


def _llama_cpp_paths(references: dict[str, Any]) -> dict[str, object]:
    """Return the paths of llama.cpp's API."""
    error, answer = "LlamaErrorBody", references["LlamaCompletion"]
    completion = _post(
        "Continue a prompt (llama.cpp).",
        references["LlamaCompletionBody"],
        answer,
        _events(),
        error,
    )
    infill = "Fill in between prefix and suffix (llama.cpp)."
    return {
        "/props": _get("The model (llama.cpp).", _json(references["Props"]), error),
        "/infill": _post(infill, references["InfillBody"], answer, _events(), error),
        "/completion": completion,
        "/completions": completion,
    }


def _ollama_paths(references: dict[str, Any]) -> dict[str, object]:
    """Return the paths of Ollama's API."""
    error, lines = "OllamaErrorBody", _text("application/x-ndjson")
    return {
        "/api/version": _get("Version of the API (Ollama).", _json(references["Version"]), error),
        "/api/tags": _get("The models (Ollama).", _json(references["Tags"]), error),
        "/api/ps": _get("The models in memory (Ollama).", _json(references["Tags"]), error),
        "/api/show": _post(
            "Describe the model (Ollama).", references["ShowBody"], references["Show"], {}, error
        ),
        "/api/generate": _post(
            "Continue a prompt, or fill in between prompt and suffix (Ollama).",
            references["GenerateBody"],
            references["Generated"],
            lines,
            error,
        ),
        "/api/chat": _post(
            "Answer a conversation (Ollama).",
            references["OllamaChatBody"],
            references["OllamaAnswer"],
            lines,
            error,
        ),
    }


def _health(content: dict[str, object]) -> dict[str, object]:
    operation = _operation("State, progress and pid; never waits.", content)
    operation["responses"]["503"] = {
        "description": "The model loads or has failed, or the server is about to end.",
        "content": content,
    }
    return {"get": operation}


def _json(schema: object) -> dict[str, object]:
    return {"application/json": {"schema": schema}}


def _text(media_type: str) -> dict[str, object]:
    return {media_type: {"schema": {"type": "string"}}}


def _events() -> dict[str, object]:
    """Return the content of a stream; the data of an event is the text of a JSON object."""
    schema = {
        "type": "object",
        "properties": {"data": {"type": "string"}},
        "required": ["data"],
    }
    return {"text/event-stream": {"schema": schema}}


def _get(summary: str, content: dict[str, object], error: str = _OPENAI_ERROR) -> dict[str, object]:
    return {"get": _operation(summary, content, error)}


def _post(
    summary: str,
    body: object,
    answer: object,
    stream: dict[str, object] | None = None,
    error: str = _OPENAI_ERROR,
) -> dict[str, object]:
    content = {**_json(answer), **(_events() if stream is None else stream)}
    operation = _operation(summary, content, error, _BODY_ERRORS)
    operation["responses"]["200"]["headers"] = {
        IGNORED_HEADER: {
            "description": "The fields of the request that were ignored.",
            "schema": {"type": "string"},
        }
    }
    return {"post": {**operation, "requestBody": {"required": True, "content": _json(body)}}}


def _operation(
    summary: str,
    content: dict[str, object],
    error: str = _OPENAI_ERROR,
    further_errors: dict[str, str] | None = None,
) -> dict[str, Any]:
    errors = {**_COMMON_ERRORS, **(further_errors or {})}
    shape = _json({"$ref": _REFERENCE.format(model=error)})
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "Success.", "content": content},
            **{
                status: {"description": reason, "content": shape}
                for status, reason in errors.items()
            },
        },
    }
