"""The names under which clients may request the model.

A client that names another model expects another behaviour, so it gets the status 404, as from
OpenAI, vLLM and Ollama. Some plugins send no name, or one that their documentation prescribes for
servers with one model.
"""

from __future__ import annotations

from starlette.requests import Request

from engine.api import EngineInfo
from engine.errors import ModelNotFoundError
from engine.server.refusal import Refusal

ANY_MODEL = frozenset({"", "any", "default", "placeholder"})
"""Names that mean the model of the server, in lower case.

`PLACEHOLDER` is the name in minuet-ai.nvim's instructions for llama.cpp (recipes.md).
"""
_DEFAULT_TAG = ":latest"
"""Tag that Ollama's clients may add to a name."""


def adapter_of(request: Request, info: EngineInfo, model: str | None) -> str | None:
    """Return the adapter that a model's name means, None for the model itself.

    Raises Refusal for a name that is not served.
    """
    name = (model or "").removesuffix(_DEFAULT_TAG)
    if name in info.adapters and name != info.model:
        return name
    if name.lower() in ANY_MODEL or name in served_names(request, info):
        return None
    raise Refusal(
        404,
        f"The model {name[:100]!r} is not served here. Request {served_name(info)!r}, or name no "
        "model; GET /v1/models lists the names.",
        kind=ModelNotFoundError.kind,
        code="model_not_found",
    )


def served_names(request: Request, info: EngineInfo) -> frozenset[str]:
    """Return all names of the model: its own, the last part of a path or hub id, the aliases."""
    return frozenset({info.model, served_name(info), *request.app.state.aliases})


def served_name(info: EngineInfo) -> str:
    """Return the last part of the model's path or hub id."""
    return info.model.rstrip("/").rpartition("/")[2] or info.model
