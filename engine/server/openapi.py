"""The OpenAPI description of the HTTP interface, generated from the types of its code."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from engine.api import Health
from engine.server.fields import IGNORED_HEADER
from engine.server.limits import RETRY_AFTER_S
from engine.server.response_types import ChatCompletion, Completion, ErrorBody, ModelList
from engine.server.schema import ChatBody, CompletionBody

_VERSION = "3.1.0"
_REFERENCE = "#/components/schemas/{model}"
_BODIES: dict[str, Any] = {"ChatBody": ChatBody, "CompletionBody": CompletionBody}
_RESPONSES: dict[str, Any] = {
    "ChatCompletion": ChatCompletion,
    "Completion": Completion,
    "ErrorBody": ErrorBody,
    "Health": Health,
    "ModelList": ModelList,
}

_COMMON_ERRORS = {
    "400": "The request cannot be used.",
    "401": "The token is missing or wrong.",
    "403": "The request names a foreign host, or the model's hub refuses access.",
    "404": "The model, the adapter or the URL does not exist.",
    "405": "The URL does not take this method.",
    "503": f"The engine is not ready or is busy; try again, after {RETRY_AFTER_S} s if it is busy.",
}
_BODY_ERRORS = {
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
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
        "/health": _get("State, progress and pid; never waits.", _json(references["Health"])),
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
    }
    document = {
        "openapi": _VERSION,
        "info": {"title": "starcoder-lsp's engine: OpenAI's API", "version": "1"},
        "paths": content,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # The second, empty requirement stands for an engine without a token.
        "security": [{"token": []}, {}],
    }
    return json.dumps(document)


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


def _get(summary: str, content: dict[str, object]) -> dict[str, object]:
    return {"get": _operation(summary, content)}


def _post(summary: str, body: object, answer: object) -> dict[str, object]:
    operation = _operation(summary, {**_json(answer), **_events()}, _BODY_ERRORS)
    operation["responses"]["200"]["headers"] = {
        IGNORED_HEADER: {
            "description": "The fields of the request that were ignored.",
            "schema": {"type": "string"},
        }
    }
    return {"post": {**operation, "requestBody": {"required": True, "content": _json(body)}}}


def _operation(
    summary: str, content: dict[str, object], further_errors: dict[str, str] | None = None
) -> dict[str, Any]:
    errors = {**_COMMON_ERRORS, **(further_errors or {})}
    error = _json({"$ref": _REFERENCE.format(model="ErrorBody")})
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "Success.", "content": content},
            **{
                status: {"description": reason, "content": error}
                for status, reason in errors.items()
            },
        },
    }
