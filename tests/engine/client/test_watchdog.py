"""A request to an engine that answers nothing ends; one that takes long goes on."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.api import GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.watchdog import Watchdog
from engine.errors import EngineReplacedError, EngineSilentError
from engine.scripted import ScriptedEngine
from tests.engine.client.test_http import running
from tests.engine.server.serving import serving

LIMIT_S = 5


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.client.watchdog.SILENCE_S", 0.05)
    monkeypatch.setattr("engine.client.connection._HEALTH_SECONDS", 0.2)


async def silent() -> None:
    raise EngineSilentError("It does not answer.")


async def answering() -> None:
    pass


async def test_a_wait_ends_with_the_error_of_the_check() -> None:
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(EngineSilentError), Watchdog(silent):
            await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_long_wait_goes_on_while_the_engine_answers() -> None:
    checks = 0

    async def check() -> None:
        nonlocal checks
        checks += 1

    with Watchdog(check):
        await asyncio.sleep(0.3)
    assert 2 <= checks <= 6


async def test_a_short_wait_is_not_checked() -> None:
    with Watchdog(silent):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)  # and it is not checked later


@pytest.mark.parametrize("check", [silent, answering])
async def test_a_cancelled_wait_stays_cancelled(check: object) -> None:
    async def wait() -> None:
        with Watchdog(check):  # type: ignore[arg-type]
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture
async def stuck(tmp_path: Path) -> AsyncIterator[HttpEngine]:
    """A socket from which nobody reads; the system connects, as for a stopped process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(tmp_path / "s"))
        bound.listen(16)
        client = HttpEngine(Endpoint("http://engine", uds=tmp_path / "s"))
        yield client
        await client.aclose()


async def test_every_request_to_a_stuck_engine_ends(stuck: HttpEngine) -> None:
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(EngineSilentError, match="does not answer"):
            await stuck.probe()
        assert "does not answer" in (await stuck.health()).detail
        with pytest.raises(EngineSilentError):
            await stuck.info()
        with pytest.raises(EngineSilentError):
            await stuck.tokenizer()
        with pytest.raises(EngineSilentError):
            await anext(stuck.stream(GenerationRequest((1,), 1)))


async def test_a_slow_output_is_not_cut_off(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: "abc", 0.2)
    async with serving(engine, uds=tmp_path / "s") as endpoint:
        client = HttpEngine(endpoint)
        request = GenerationRequest(tuple(engine.model_tokenizer.encode("x")), 100)
        text = "".join([chunk.text async for chunk in client.stream(request)])
        await client.aclose()
    assert text == "abc"


async def test_another_model_at_the_address_is_noticed(tmp_path: Path) -> None:
    """Token ids of one model mean nothing to another."""
    names = ["old"]

    async def models(_: Request) -> Response:
        entry = {"id": names[-1], "starcoder": _info(names[-1])}
        return JSONResponse({"object": "list", "data": [entry]})

    async def completions(_: Request) -> Response:
        event = f'data: {{"model": "{names[-1]}", "choices": []}}\n\n'
        return Response(event + "data: [DONE]\n\n", media_type="text/event-stream")

    app = Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )
    async with running(app, tmp_path / "s") as endpoint:
        client = HttpEngine(endpoint)
        assert (await client.info()).model == "old"
        names.append("new")
        with pytest.raises(EngineReplacedError, match="new"):
            await anext(client.stream(GenerationRequest((1,), 1)))
        assert (await client.info()).model == "new"
        await client.aclose()


def _info(name: str) -> dict[str, object]:
    return {
        "model": name,
        "model_type": "",
        "context_window": 100,
        "device": "cpu",
        "dtype": "float32",
        "is_demo": False,
    }
