"""Which kind of server answers, from what it says about itself and its model."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from engine.api import EngineInfo
from engine.client.servers.base import DEFAULT_WINDOW, Server
from engine.client.servers.llama_cpp import LlamaCppServer
from engine.client.servers.openai import OpenAiServer
from engine.client.servers.vllm import VllmServer

_log = logging.getLogger(__name__)

Get = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Returns the JSON object at a path of the server, empty if there is none."""


async def identify(entry: Mapping[str, Any], get: Get) -> tuple[Server, int | None]:
    """Return the kind of the server that lists a model as `entry`, and its context window.

    No field alone decides: other servers and proxies copy `owned_by`, and routers do not pass every
    path on. What a server really does is seen in its answers (`servers.healing`).
    The window is None if the server does not report it.
    """
    owner = entry.get("owned_by")
    if owner != "vllm" and (slot := _slot_settings(await get("/props"))) is not None:
        return LlamaCppServer(), _window(slot.get("n_ctx")) or _window(_meta(entry).get("n_ctx"))
    window = _window(entry.get("max_model_len"))
    if owner == "vllm" or (window and owner != "sglang" and _is_version(await get("/version"))):
        return VllmServer(), window
    return OpenAiServer(), window or _window(_meta(entry).get("n_ctx"))


def describe(entry: Mapping[str, Any], window: int | None, limit: int | None) -> EngineInfo:
    """Return the description of a model whose server is not ours.

    `limit` is the setting `contextWindow`. It also limits what the server reports.
    """
    if window is None and limit is None:
        _log.warning(
            "The server of the model %s does not report its context window. %d tokens are assumed; "
            "set starcoder.contextWindow to the real number.",
            entry["id"],
            DEFAULT_WINDOW,
        )
    sizes = [size for size in (window, limit) if size is not None]
    return EngineInfo(
        model=str(entry["id"]),
        model_type="",
        context_window=min(sizes, default=DEFAULT_WINDOW),
        device="remote",
        dtype="",
        is_demo=False,
    )


def _slot_settings(props: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what llama.cpp's `/props` says about each slot, None for another server."""
    settings = props.get("default_generation_settings")
    return settings if isinstance(settings, dict) else None


def _is_version(body: Mapping[str, Any]) -> bool:
    return isinstance(body.get("version"), str)


def _meta(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = entry.get("meta")
    return meta if isinstance(meta, dict) else {}


def _window(value: object) -> int | None:
    """Return a number of tokens, None if the value is not one."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and value > 1 else None
