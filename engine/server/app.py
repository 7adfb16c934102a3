"""The routes of the engine's HTTP interface."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.api import EngineState, Health, ScoringEngine
from engine.errors import StarcoderError
from engine.server import wire
from engine.server.access import (
    Activity,
    ActivityCounter,
    OriginGuard,
    RequestLimit,
)
from engine.server.apis import error_shapes, llama_cpp, mistral, ollama, ollama_models
from engine.server.chat import chat_completions
from engine.server.completions import completions
from engine.server.fim import RenderFim
from engine.server.limits import RETRY_AFTER_S
from engine.server.openapi import describe
from engine.server.operation.draining import Drain, DrainGuard
from engine.server.operation.local_probes import LocalProbes
from engine.server.operation.metrics import ServerMetrics
from engine.server.operation.model_lease import ModelLease
from engine.server.operation.recording import CLIENT_CLOSED_REQUEST, RecordedEngine, RequestRecorder
from engine.server.operation.reloading import ReloadingEngine
from engine.server.operation.request_record import RequestObserver
from engine.server.prompts import RenderChat
from engine.server.refusal import Refusal
from engine.server.response_types import ModelEntry, ModelList
from engine.server.responses import ClientDisconnected, cancel_on_disconnect, model_info
from engine.server.users.accounts import Limits
from engine.server.users.guard import KeyRing, UserGuard, Users
from engine.server.users.threads import in_thread

log = logging.getLogger(__name__)

_NO_LIMITS = Limits()
_STATUS = {
    EngineState.STARTING: "loading model",
    EngineState.LOADING: "loading model",
    EngineState.READY: "ok",
    EngineState.FAILED: "error",
    EngineState.DRAINING: "error",
}
"""llama.cpp's word for each state."""
_OWNER = "starcoder-lsp"


async def health(request: Request) -> Response:
    """Return state, progress and pid, without waiting for the model.

    For load balancers the status is 200 while requests are answered, and otherwise 503. The field
    `status` is llama.cpp's.
    """
    health: Health = await request.app.state.engine.health()
    drain: Drain = request.app.state.drain
    if drain.is_on:
        detail = f"{drain.num_running} requests are running"
        health = replace(health, state=EngineState.DRAINING, detail=detail)
    body = {**asdict(health), "status": _STATUS[health.state]}
    if health.state is EngineState.READY:
        return JSONResponse(body)
    return JSONResponse(body, 503, {"Retry-After": str(RETRY_AFTER_S)})


async def metrics(request: Request) -> Response:
    """Return the metrics in the format of Prometheus that the client prefers."""
    metrics: ServerMetrics = request.app.state.metrics
    text, media_type = metrics.exposition(request.headers.get("accept", ""))
    return Response(text, media_type=media_type)


async def models(request: Request) -> Response:
    """List the model and its adapters as OpenAI and vLLM do; `starcoder` holds our extension."""
    info = await model_info(request)
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
    waiting = request.app.state.engine.tokenizer(adapter)
    tokenizer = await cancel_on_disconnect(request, waiting)
    text = await in_thread(tokenizer.to_json)
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
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _handle_unexpected_error(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    failure = StarcoderError("The engine failed; see its log.")
    path, status = request.url.path, failure.http_status
    return JSONResponse(error_shapes.translated(path, status, wire.error_body(failure)), status)


def _other_routes() -> list[Route]:
    """Return the routes of the APIs of Mistral, llama.cpp and Ollama."""
    return [
        Route("/v1/fim/completions", mistral.fim_completions, methods=["POST"]),
        Route("/props", llama_cpp.props),
        Route("/infill", llama_cpp.infill, methods=["POST"]),
        Route("/completion", llama_cpp.completion, methods=["POST"]),
        Route("/completions", llama_cpp.completion, methods=["POST"]),
        Route("/api/version", ollama_models.version),
        Route("/api/tags", ollama_models.tags),
        Route("/api/ps", ollama_models.ps),
        Route("/api/show", ollama_models.show, methods=["POST"]),
        Route("/api/generate", ollama.generate, methods=["POST"]),
        Route("/api/chat", ollama.chat, methods=["POST"]),
    ]


def create_app(
    engine: ScoringEngine,
    *,
    render_chat: RenderChat | None = None,
    render_fim: RenderFim | None = None,
    aliases: Sequence[str] = (),
    token: str | None = None,
    keys: KeyRing | None = None,
    limits: Limits = _NO_LIMITS,
    host: str | None = None,
    activity: Activity | None = None,
    drain: Drain | None = None,
    further_routes: Sequence[Route] = (),
    observers: Sequence[RequestObserver] = (),
) -> Starlette:
    """Return the ASGI application that serves an engine; `aliases` are further names of its model.

    Clients must send the token or one of the keys if there are any; users without own limits have
    `limits`. Without a token and keys, requests of web pages are refused. `host` is the TCP address
    at which the application is reached, None for a Unix socket. Each of the observers gets the
    record of each request.
    """
    drain = drain or Drain()
    recorded = RecordedEngine(engine)
    server_metrics = ServerMetrics(recorded)
    leases = []
    if isinstance(engine, ReloadingEngine):
        leases.append(Middleware(ModelLease, lease=engine.lease))
    users = Users(token, keys, limits)
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            *_other_routes(),
            Route("/tokenizer.json", tokenizer),
            Route("/openapi.json", openapi),
            *further_routes,
        ],
        middleware=[
            Middleware(RequestRecorder, (server_metrics.observe, *observers)),
            Middleware(error_shapes.ErrorShapes),
            *([] if users.need_key else [Middleware(OriginGuard, host=host)]),
            Middleware(UserGuard, users, LocalProbes(host)),
            Middleware(DrainGuard, drain=drain),
            Middleware(RequestLimit, users.accounts),
            Middleware(ActivityCounter, activity=activity or Activity()),
            *leases,
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
    app.state.engine = recorded
    app.state.drain = drain
    app.state.metrics = server_metrics
    app.state.render_chat = render_chat
    app.state.render_fim = render_fim
    app.state.aliases = tuple(aliases)
    return app
