"""Ollama's descriptions of the model: `/api/tags`, `/api/ps`, `/api/show` and `/api/version`."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.api import EngineInfo, FimText
from engine.errors import RequestError
from engine.server.apis.ollama_types import (
    ModelDetails,
    Show,
    ShowBody,
    TaggedModel,
    Tags,
    Version,
)
from engine.server.bodies import parse_body
from engine.server.fim import rendered_fim
from engine.server.model_names import adapter_of, served_name
from engine.server.responses import model_info

_VERSION = "0.12.0"
"""Version of Ollama whose API this is. Clients compare it with the one that they need."""
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"

_TEMPLATE = "{{ .Prompt }}"
_FIM_TEMPLATE = "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}{{ .Prompt }}{{ end }}"
"""Template of a model that can fill in. Clients look for `.Suffix`; the server adds the tokens."""


async def tags(request: Request) -> Response:
    """List the model and its adapters."""
    return JSONResponse(_tags(await model_info(request)))


async def ps(request: Request) -> Response:
    """List the models in memory, which never expire."""
    listed = _tags(await model_info(request))
    running = [{**each, "expires_at": "9999-12-31T23:59:59Z"} for each in listed["models"]]
    return JSONResponse({"models": running})


async def version(_: Request) -> Response:
    """Return the version of Ollama whose API this is."""
    answer: Version = {"version": _VERSION}
    return JSONResponse(answer)


async def show(request: Request) -> Response:
    """Describe the model. Plugins read whether it can fill in, and its context window."""
    body = await parse_body(request, ShowBody)
    engine = request.app.state.engine
    info = await model_info(request)
    adapter = adapter_of(request, info, body.model or body.name)
    can_fill = True
    try:
        await rendered_fim(request, await engine.tokenizer(adapter), FimText("", ""), 1)
    except RequestError:
        can_fill = False
    architecture = info.model_type or "unknown"
    answer: Show = {
        "modelfile": "",
        # A line per parameter: Continue fails on an empty one.
        "parameters": f"num_ctx {info.context_window}",
        "template": _FIM_TEMPLATE if can_fill else _TEMPLATE,
        "details": _details(info),
        "model_info": {
            "general.architecture": architecture,
            f"{architecture}.context_length": info.context_window,
        },
        "capabilities": ["completion", *(["insert"] if can_fill else [])],
        "modified_at": _UNKNOWN_TIME,
    }
    return JSONResponse(answer)


def _tags(info: EngineInfo) -> Tags:
    names = [served_name(info), *info.adapters]
    return {"models": [_tagged(name, info) for name in names]}


def _tagged(name: str, info: EngineInfo) -> TaggedModel:
    return {
        "name": name,
        "model": name,
        "modified_at": _UNKNOWN_TIME,
        "size": 0,
        "digest": hashlib.sha256(f"{info.model}\n{name}".encode()).hexdigest(),
        "details": _details(info),
    }


def _details(info: EngineInfo) -> ModelDetails:
    return {
        "parent_model": "",
        "format": "",
        "family": info.model_type,
        "families": [info.model_type],
        "parameter_size": "",
        "quantization_level": info.dtype,
    }
