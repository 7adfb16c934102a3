"""The routes of the engine's HTTP interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.api import ScoringEngine
from engine.errors import StarcoderError
from engine.server import wire
from engine.server.access import (
    Activity,
    ActivityCounter,
    OriginGuard,
    RequestLimit,
    TokenGuard,
)
from engine.server.chat import RenderChat, chat_completions
from engine.server.completions import completions
from engine.server.openapi import describe
from engine.server.refusal import Refusal
from engine.server.response_types import ModelEntry, ModelList
from engine.server.responses import ClientDisconnected

log = logging.getLogger(__name__)

_GAUGES = ("_bytes", "_in_use", "_running")
"""Ends of the names of metrics that can fall."""
_OWNER = "starcoder-lsp"
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
    model: ModelEntry = {
        "id": info.model,
        "object": "model",
        "created": 0,
        "owned_by": _OWNER,
        "max_model_len": info.context_window,
        "starcoder": info,
    }
    adapters: list[ModelEntry] = [
        {"id": name, "object": "model", "created": 0, "owned_by": _OWNER, "parent": info.model}
        for name in info.adapters
    ]
    answer: ModelList = {"object": "list", "data": [model, *adapters]}
    return JSONResponse({**answer, "data": [{**model, "starcoder": asdict(info)}, *adapters]})


async def openapi(_: Request) -> Response:
    """Return the OpenAPI description of this interface."""
    return Response(describe(), media_type="application/json")


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


async def _handle_refusal(_: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return error.response()
    raise error


async def _handle_http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown URL or a wrong method, which starlette reports."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message, code = f"This URL takes {allowed} only.", "method_not_allowed"
    else:
        message, code = "This URL does not exist. GET /openapi.json lists all.", "unknown_url"
    return Refusal(error.status_code, message, code=code, headers=error.headers).response()


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
    host: str | None = None,
    activity: Activity | None = None,
    further_routes: Sequence[Route] = (),
) -> Starlette:
    """Return the ASGI application that serves an engine.

    Clients must send the token if there is one. Without a token, requests of web pages are refused;
    `host` is the TCP address at which the application is reached, None for a Unix socket.
    """
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/tokenizer.json", tokenizer),
            Route("/openapi.json", openapi),
            *further_routes,
        ],
        middleware=[
            Middleware(OriginGuard, host=host) if token is None else Middleware(TokenGuard, token),
            Middleware(RequestLimit),
            Middleware(ActivityCounter, activity=activity or Activity()),
        ],
        exception_handlers={
            StarcoderError: _handle_starcoder_error,
            Refusal: _handle_refusal,
            HTTPException: _handle_http_error,
            ClientDisconnected: _handle_disconnect,
            Exception: _handle_unexpected_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.engine = engine
    app.state.render_chat = render_chat
    return app
