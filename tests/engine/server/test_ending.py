"""A signal ends `serve` without cutting off answers, within a time that the administrator sets."""

import asyncio
import os
import pty
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from engine.api import EngineState
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from tests.checkpoint_maker import make_checkpoint
from tests.serve_process import ServeProcess, serve_process

LONG = {"prompt": "def", "max_tokens": 6000, "temperature": 0, "stream": True}
SHORT = {"prompt": "def", "max_tokens": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that generates for seconds: it has a long window, and random weights."""
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=8192)


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[ServeProcess]:
    with serve_process(tmp_path, model, "--drain-seconds", "60") as server:
        yield server


async def wait_until_ready(plain: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while not (await plain.get("/health")).is_success:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


@asynccontextmanager
async def long_answer(server: ServeProcess) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of an answer that has begun."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=60) as plain:
        await wait_until_ready(plain)
        async with plain.stream("POST", "/v1/completions", json=LONG) as response:
            assert response.headers["x-accel-buffering"] == "no"
            assert response.headers["cache-control"] == "no-cache"
            lines = response.aiter_lines()
            await anext(lines)
            yield lines


async def test_running_answers_finish_and_new_requests_are_refused(server: ServeProcess) -> None:
    async with long_answer(server) as lines, httpx2.AsyncClient(base_url=server.url) as plain:
        server.send(signal.SIGTERM)
        server.wait_for("running requests have 60 s")
        refused = await plain.post("/v1/completions", json=SHORT)
        health = await plain.get("/health")
        engine = HttpEngine(Endpoint(server.url))
        seen = await engine.health()
        await engine.aclose()
        rest = [line async for line in lines]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["connection"] == "close"
    assert "no new requests" in refused.json()["error"]["message"]
    assert health.status_code == 503
    assert health.json()["state"] == "draining"
    assert health.json()["detail"] == "1 requests are running"
    assert seen.state is EngineState.DRAINING
    assert "data: [DONE]" in rest
    assert server.wait() == 0
    assert "did not finish" not in server.log


async def test_a_second_signal_ends_immediately(server: ServeProcess) -> None:
    async with long_answer(server):
        server.send(signal.SIGTERM)
        server.wait_for("running requests have")
        started = time.monotonic()
        server.send(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
    assert time.monotonic() - started < 10
    assert "1 requests did not finish in time" in server.log


async def test_a_reload_is_ignored_while_the_last_answers_finish(server: ServeProcess) -> None:
    async with long_answer(server):
        server.send(signal.SIGTERM)
        server.wait_for("running requests have")
        server.send(signal.SIGHUP)
        server.wait_for("SIGHUP has no effect")
        server.send(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
    assert server.log.count("SIGHUP") == 1
    assert "loading the model again" not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_server_without_requests_ends_immediately(
    server: ServeProcess, number: signal.Signals
) -> None:
    async with httpx2.AsyncClient(base_url=server.url) as plain:
        await wait_until_ready(plain)
        started = time.monotonic()
        server.send(number)  # while a connection without a request is open
        status = await asyncio.to_thread(server.wait)
    assert status == (0 if number == signal.SIGTERM else 130)
    assert time.monotonic() - started < 15


async def test_the_time_of_running_answers_is_limited(model: Path, tmp_path: Path) -> None:
    with serve_process(tmp_path, model, "--drain-seconds", "0.5") as server:
        async with long_answer(server):
            server.send(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 0
        assert "1 requests did not finish in time" in server.log


async def test_a_server_whose_terminal_closes_ends(model: Path, tmp_path: Path) -> None:
    """Otherwise it would read its files again, and go on for ever."""
    terminal, child_end = pty.openpty()
    with serve_process(tmp_path, model, terminal=child_end) as server:
        os.close(child_end)
        async with httpx2.AsyncClient(base_url=server.url) as plain:
            await wait_until_ready(plain)
        server.send(signal.SIGHUP)  # from an administrator, while the terminal is open
        server.wait_for("the new model is ready")
        os.close(terminal)
        assert server.wait() == 0
        assert "ending; running requests have" in server.log
