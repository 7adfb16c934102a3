"""Serves engines over HTTP from the test's own process, and connects OpenAI's client to them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import uvicorn

from chat.rendering import render
from engine.api import ScoringEngine
from engine.client.endpoint import Endpoint
from engine.scripted import byte_tokenizer
from engine.server.access import Activity
from engine.server.app import create_app
from engine.server.connection import server_config
from engine.server.fim import RenderFim
from engine.server.operation.request_record import RequestObserver
from engine.server.prompts import RenderChat
from engine.server.users.accounts import Limits
from engine.server.users.guard import KeyRing
from fim.prompt import rendering as fim_rendering

NO_LIMITS = Limits()
OUTPUT = "return a + b\n\nprint(1)"


@asynccontextmanager
async def serving(
    engine: ScoringEngine,
    *,
    uds: Path | None = None,
    token: str | None = None,
    keys: KeyRing | None = None,
    limits: Limits = NO_LIMITS,
    observers: Sequence[RequestObserver] = (),
    render_chat: RenderChat | None = render,
    render_fim: RenderFim | None = fim_rendering.render,
    aliases: Sequence[str] = (),
    activity: Activity | None = None,
) -> AsyncIterator[Endpoint]:
    """Serve an engine from the test's process inside the block."""
    host: str | None
    if uds is None:
        bound = socket.create_server(("127.0.0.1", 0))
        endpoint = Endpoint(f"http://127.0.0.1:{bound.getsockname()[1]}", token=token)
        host = "127.0.0.1"
    else:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(uds))
        endpoint = Endpoint("http://engine", uds=uds, token=token)
        host = None
    app = create_app(
        engine,
        render_chat=render_chat,
        render_fim=render_fim,
        aliases=aliases,
        token=token,
        keys=keys,
        limits=limits,
        host=host,
        activity=activity,
        observers=observers,
    )
    config = server_config(app)
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    await until(lambda: server.started)
    try:
        yield endpoint
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def connected_client(
    engine: ScoringEngine, **options: Any
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Serve an engine and yield OpenAI's client for it."""
    async with (
        serving(engine, **options) as endpoint,
        openai.AsyncOpenAI(
            base_url=f"{endpoint.url}/v1", api_key=endpoint.token or "none", max_retries=0
        ) as client,
    ):
        yield client


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until the condition is true; raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - no event is set when it becomes true
            await asyncio.sleep(0.01)


def ids(text: str) -> list[int]:
    return byte_tokenizer().encode(text)


async def post(client: openai.AsyncOpenAI, path: str, body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
        return await plain.post(path, json=body)
