"""How often a server at a URL is asked for its state."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from engine.api import EngineState
from engine.client.remote import RemoteEngine
from engine.client.remote_model import RemoteModel
from engine.errors import (
    EngineReplacedError,
    StarcoderError,
)
from tests.engine.client.watching import text_of, until, watched
from tests.remote_server import Server, response

pytestmark = pytest.mark.usefixtures("short_times")


async def test_a_dead_server_is_asked_less_and_less(server: Server, folder: Path) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    server.faults["*"] = response(503, {"error": "down"})
    async with watched(engine) as reports:
        await until(lambda: reports)
        server.requests.clear()
        for _ in range(100):
            with pytest.raises(StarcoderError, match="down"):
                await text_of(engine)
            await asyncio.sleep(0.02)
        # At most one per 0.05 s on behalf of a user, instead of one per try.
        assert len(server.requests) <= 2.5 / 0.05
        server.requests.clear()
        await asyncio.sleep(2)
        assert 3 <= len(server.requests) <= 12  # by itself: every 0.2 to 0.4 s
        times = [when for when, _ in server.requests]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert len({round(gap, 3) for gap in gaps}) > 1  # not in step


@pytest.mark.parametrize(("path", "status"), [("*", 503), ("*", 429), ("/v1/completions", 429)])
async def test_the_server_is_not_asked_before_the_time_that_it_wishes(
    path: str, status: int, server: Server, folder: Path
) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.faults[path] = response(status, {"error": "slow"}, Retry_After="1")
        if path != "*":
            with pytest.raises(StarcoderError, match=str(status)):
                await text_of(engine)
        await until(lambda: reports[-1].state is EngineState.FAILED)
        server.requests.clear()
        server.faults.clear()
        started = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - started < 0.7:
            with pytest.raises(StarcoderError, match=str(status)):
                await text_of(engine)
            await asyncio.sleep(0.01)
        assert server.requests == []
        await until(lambda: reports[-1].state is EngineState.READY)
        assert await text_of(engine) == "1"


async def test_the_health_of_other_servers_is_not_asked(server: Server, folder: Path) -> None:
    """LiteLLM's `/health` asks every model."""
    server.faults["/health"] = response(500)
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        await asyncio.sleep(0.5)
    assert "/health" not in server.paths()


async def test_windows_that_ask_together_share_one_question(server: Server, folder: Path) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    await asyncio.gather(*(engine.info() for _ in range(20)), engine.health())
    assert server.paths().count("/v1/models") == 1
    await engine.aclose()


async def test_a_closed_engine_asks_nothing(server: Server, folder: Path) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    server.faults["*"] = "hang"
    waiting = asyncio.create_task(engine.info())
    await until(lambda: server.requests)
    await engine.aclose()
    with pytest.raises(EngineReplacedError):
        await waiting
    with pytest.raises(EngineReplacedError):
        await engine.info()
    assert (await engine.health()).state is EngineState.FAILED
    assert len(server.requests) == 1
    never_used = RemoteEngine(server.endpoint)
    await never_used.aclose()
