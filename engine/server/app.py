"""The routes of the engine's HTTP interface."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.api import ScoringEngine
from engine.errors import StarcoderError
from engine.server import wire
from engine.server.access import Activity, ActivityCounter, TokenGuard
from engine.server.chat import RenderChat, chat_completions
from engine.server.completions import completions
from engine.server.responses import ClientDisconnected

log = logging.getLogger(__name__)

_GAUGES = ("_bytes", "_in_use", "_running")
"""Ends of the names of metrics that can fall."""
_CLIENT_CLOSED_REQUEST = 499
"""Status code of nginx for a response that no client receives."""


async def health(request: Request) -> Response:
    """Return state, progress and pid, without waiting for the model."""
    return JSONResponse(asdict(await request.app.state.engine.health()))


async def metrics(request: Request) -> Response:
    """Return the engine's metrics in Prometheus' text format."""
    metrics = asdict(request.app.state.engine.metrics())
    lines = [
        f"# TYPE starcoder_{name} {'gauge' if name.endswith(_GAUGES) else 'counter'}\n"
        f"starcoder_{name} {value}\n"
        for name, value in metrics.items()
    ]
    return Response("".join(lines), media_type="text/plain; version=0.0.4")


async def models(request: Request) -> Response:
    """List the model and its adapters as OpenAI and vLLM do; `starcoder` holds our extension."""
    info = await request.app.state.engine.info()
    common = {"object": "model", "created": 0, "owned_by": "starcoder-lsp"}
    model = {
        "id": info.model,
        **common,
        "max_model_len": info.context_window,
        "starcoder": asdict(info),
    }
    adapters = [{"id": name, **common, "parent": info.model} for name in info.adapters]
    return JSONResponse({"object": "list", "data": [model, *adapters]})


async def tokenizer(request: Request) -> Response:
    """Return the model's `tokenizer.json`, so that clients can encode prompts.

    `?adapter=NAME` returns the tokenizer with the tokens that the adapter adds.
    """
    adapter = request.query_params.get("adapter")
    tokenizer = await request.app.state.engine.tokenizer(adapter)
    text = await asyncio.to_thread(tokenizer.to_json)
    return Response(text, media_type="application/json")


async def _handle_starcoder_error(_: Request, error: Exception) -> Response:
    if isinstance(error, StarcoderError):
        return wire.error_response(error)
    raise error


async def _handle_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _handle_unexpected_error(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return wire.error_response(StarcoderError("The engine failed; see its log."))


def create_app(
    engine: ScoringEngine,
    *,
    render_chat: RenderChat | None = None,
    token: str | None = None,
    activity: Activity | None = None,
) -> Starlette:
    """Return the ASGI application that serves an engine."""
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/tokenizer.json", tokenizer),
        ],
        middleware=[
            Middleware(TokenGuard, token=token),
            Middleware(ActivityCounter, activity=activity or Activity()),
        ],
        exception_handlers={
            StarcoderError: _handle_starcoder_error,
            ClientDisconnected: _handle_disconnect,
            Exception: _handle_unexpected_error,
        },
    )
    app.state.engine = engine
    app.state.render_chat = render_chat
    return app
