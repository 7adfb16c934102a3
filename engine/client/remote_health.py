"""One question to a server: whether it has the model, and whether it can be asked now.

The answer to `/v1/models` decides. `/health` has no common meaning: many servers have no such URL,
and LiteLLM's sends a request to every model that it forwards to. So `/health` is asked only where
its meaning is known: of our server while it loads its model, because it does not list it until
then, and of llama.cpp's, which lists its model before it is loaded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from engine.api import EngineState
from engine.client.failures import message_in, not_openai, raise_for_status
from engine.client.remote_model import RemoteModel, select_entry
from engine.client.unreachable import silent_server, unreachable_server

LIMIT_S = 5.0
"""Seconds after which a server that has not answered counts as hung."""
_PATIENCE_S = 1.0
"""Seconds without a list of models after which the server may be ours, and loading."""
_LOADING = "Loading model"
"""The message of llama.cpp's server, with status 503, until it has loaded its model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The state of a server that answered."""

    entry: Mapping[str, Any] | None = None
    """The model's entry of `/v1/models`; None while it is loading."""
    state: EngineState = EngineState.READY
    """READY, or STARTING or LOADING."""
    detail: str = ""
    progress: float | None = None


async def ask_server(http: httpx2.AsyncClient, url: str, choice: RemoteModel) -> Answer:
    """Return what the server says about the model.

    Raises StarcoderError with a message for the user if it says nothing useful within `LIMIT_S`.
    """
    try:
        async with asyncio.timeout(LIMIT_S):
            return await _ask(http, url, choice)
    except (TimeoutError, httpx2.ReadTimeout) as error:
        raise silent_server(url) from error
    except httpx2.HTTPError as error:
        raise unreachable_server(url, error) from error


async def _ask(http: httpx2.AsyncClient, url: str, choice: RemoteModel) -> Answer:
    # The connection is given up first: then nothing listens there, or a firewall is silent.
    timeout = httpx2.Timeout(None, connect=0.8 * LIMIT_S)
    listing = asyncio.create_task(http.get("/v1/models", timeout=timeout))
    try:
        answered, _ = await asyncio.wait({listing}, timeout=_PATIENCE_S)
        if not answered and (loading := await _ours_loading(http)) is not None:
            return loading
        response = await listing
    finally:
        listing.cancel()
    body = _parse(response.text)
    if _is_loading(response, body):
        return Answer(state=EngineState.LOADING, detail="loading the model")
    raise_for_status(response.status_code, response.content, url, response.headers)
    try:
        entry = select_entry(body["data"], choice, url)
        is_llama_cpp = entry.get("owned_by") == "llamacpp"
    except (LookupError, TypeError, AttributeError) as error:
        raise not_openai(url) from error
    if is_llama_cpp:
        health = await http.get("/health")
        if _is_loading(health, _parse(health.text)):
            return Answer(state=EngineState.LOADING, detail="loading the model")
    return Answer(entry)


async def _ours_loading(http: httpx2.AsyncClient) -> Answer | None:
    """Return the state of a server of ours that is not ready, None for any other."""
    try:
        timeout = httpx2.Timeout(None, connect=0.6 * LIMIT_S)
        body = _parse((await http.get("/health", timeout=timeout)).text)
    except httpx2.HTTPError:
        return None  # the list of models has the better error
    state = body.get("state") if isinstance(body, dict) else None
    if state not in (EngineState.STARTING, EngineState.LOADING):
        return None
    detail, progress = body.get("detail"), body.get("progress")
    return Answer(
        None,
        EngineState(state),
        detail if isinstance(detail, str) else "",
        progress if isinstance(progress, float) else None,
    )


def _is_loading(response: httpx2.Response, body: Any) -> bool:
    return response.status_code == 503 and message_in(body) == _LOADING


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
