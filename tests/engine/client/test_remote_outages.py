"""A server at a URL that misbehaves: what is reported, and the way back."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from engine.api import EngineState, GenerationRequest, Priority
from engine.client.endpoint import Endpoint
from engine.client.remote import RemoteEngine
from engine.client.remote_model import RemoteModel
from engine.errors import EngineLostError, RequestError, StarcoderError
from tests.engine.client.watching import REQUEST, text_of, until, watched
from tests.remote_server import HTML, Server, event, response

pytestmark = pytest.mark.usefixtures("short_times")


def fail(path: str, fault: bytes | str) -> Callable[[Server], Awaitable[None]]:
    async def change(server: Server) -> None:
        server.faults[path] = fault

    return change


async def stop(server: Server) -> None:
    await server.stop()


PAGE = response(200, HTML, "text/html")
FAULTS: dict[str, tuple[Callable[[Server], Awaitable[None]], str]] = {
    "stopped": (stop, r"nothing listens there.*starcoder\.engineUrl"),
    "hanging": (fail("*", "hang"), r"does not answer.*starcoder\.engineUrl"),
    "401": (fail("*", response(401, {"error": "no"})), r"401.*starcoder\.engineToken"),
    "403": (fail("*", response(403, {"error": "no"})), r"403.*starcoder\.engineToken"),
    "404": (fail("*", response(404, {"detail": "no"})), r"404.*starcoder\.engineUrl"),
    "429": (fail("*", response(429, {"error": "slow"})), r"429.*starcoder\.engineToken"),
    "500": (fail("*", response(500, {"error": "oops"})), r"500.*oops.*starcoder\.engineUrl"),
    "HTML": (fail("*", PAGE), r"does not answer as OpenAI's API does.*starcoder\.engineUrl"),
    "a login page": (
        fail("*", response(302, "", "text/html", Location="https://login.example/?a=b")),
        r"redirects to https://login\.example .*starcoder\.engineUrl",
    ),
    "a list": (fail("*", response(200, "[1]")), r"does not answer as OpenAI's API does"),
    "deep JSON": (
        fail("*", response(200, "[" * 100_000)),
        r"does not answer as OpenAI's API does",
    ),
    "another model": (fail("*", response(200, {"data": [{"id": "z"}]})), r"starcoder\.engineModel"),
    "no model": (fail("*", response(200, {"data": []})), r"starcoder\.engineModel"),
    "not HTTP": (fail("*", b"SSH-2.0-OpenSSH_9.6\r\n"), r"does not speak HTTP.*engineUrl"),
    "a cut list": (
        fail("*", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{"),
        r"starcoder\.engineUrl",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_failing_server_is_noticed_without_requests_and_comes_back(
    name: str, server: Server, folder: Path
) -> None:
    change, words = FAULTS[name]
    engine = RemoteEngine(server.endpoint, RemoteModel("one", folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        assert await text_of(engine) == "1"
        await change(server)
        await until(lambda: reports[-1].state is EngineState.FAILED)
        assert re.search(words, reports[-1].detail, re.S), reports[-1].detail
        assert reports[-1].detail.count(".") < 8
        with pytest.raises(StarcoderError):
            await text_of(engine)
        server.faults.clear()
        if name == "stopped":
            await server.start()
        await until(lambda: reports[-1].state is EngineState.READY)
        assert await text_of(engine) == "1"
        states = [report.state for report in reports]
        assert states.count(EngineState.FAILED) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", r"does not answer.*starcoder\.engineUrl"),
        ("stall", r"does not answer.*starcoder\.engineUrl"),
        ("truncate", r"starcoder\.engineUrl"),
        (response(401, {"error": "no"}), r"401.*starcoder\.engineToken"),
        (response(404, {"error": "no"}), r"404.*starcoder\.engineModel"),
        (response(429, {"error": "slow"}), r"429.*starcoder\.engineToken"),
        (response(500, {"error": "oops"}), r"500.*oops.*starcoder\.engineUrl"),
        (response(302, "", Location="/login"), r"redirects to /login .*starcoder\.engineUrl"),
        (PAGE, r"does not answer as OpenAI's API does.*starcoder\.engineUrl"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event("1"), "engineUrl"),
    ],
    ids=str,
)
async def test_a_server_that_lists_its_model_but_generates_nothing_is_not_ready(
    fault: bytes | str, words: str, server: Server, folder: Path
) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.faults["/v1/completions"] = fault
        for _ in range(2):
            with pytest.raises(StarcoderError):
                await text_of(engine)
        await until(lambda: reports[-1].state is EngineState.FAILED)
        assert re.search(words, reports[-1].detail, re.S), reports[-1].detail
        num_reports = len(reports)
        await asyncio.sleep(1)  # although it answers /v1/models all the time
        assert len(reports) == num_reports
        server.faults.clear()
        await until(lambda: reports[-1].state is EngineState.READY)
        assert await text_of(engine) == "1"


async def test_a_cut_connection_is_no_outage_if_the_server_works(
    server: Server, folder: Path
) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.next_faults = [("/v1/completions", "truncate")]
        with pytest.raises(EngineLostError):
            await text_of(engine)
        assert await text_of(engine) == "1"
        assert [report.state for report in reports][-1] is EngineState.READY
        assert EngineState.FAILED not in [report.state for report in reports]


async def test_a_request_is_sent_again_if_the_server_just_ended_the_kept_connection(
    server: Server, folder: Path
) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        assert await text_of(engine) == "1"
        server.bodies.clear()
        server.next_faults = [("/v1/completions", b"")]
        assert await text_of(engine) == "1"
        assert len(server.bodies) == 2
        assert EngineState.FAILED not in [report.state for report in reports]
        server.next_faults = [("/v1/completions", b""), ("/v1/completions", b"")]
        with pytest.raises(EngineLostError):
            await text_of(engine)
        assert [body["max_tokens"] for body in server.bodies[:4]] == [8] * 4


async def test_a_server_is_noticed_that_answers_nothing_before_the_next_key(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key cancels the request before it, so that no single request waits for long."""
    monkeypatch.setattr("engine.client.remote_watch._SILENT_S", 0.4)
    monkeypatch.setattr("engine.client.http._STALL_S", 3600.0)
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))

    async def type_a_key() -> None:
        with suppress(TimeoutError, StarcoderError):
            async with asyncio.timeout(0.05):
                await text_of(engine)

    async with watched(engine) as reports:
        assert await text_of(engine) == "1"
        server.faults["/v1/completions"] = "hang"
        while reports[-1].state is EngineState.READY:
            await type_a_key()
        assert "does not answer" in reports[-1].detail
        server.faults.clear()
        await until(lambda: reports[-1].state is EngineState.READY)
        assert await text_of(engine) == "1"
        # A fast typist cancels requests of a server that works, too.
        num_reports = len(reports)
        for _ in range(20):
            await type_a_key()
        assert len(reports) == num_reports


async def test_requests_that_the_server_refuses_are_no_outage(server: Server, folder: Path) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.faults["/v1/completions"] = response(400, {"error": "the prompt is too long"})
        with pytest.raises(RequestError, match="too long"):
            await text_of(engine)
        assert reports[-1].state is EngineState.READY


async def test_a_long_chat_is_not_cut_off(server: Server, folder: Path) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    await engine.info()
    server.faults["/v1/completions"] = "stall"
    chat = GenerationRequest(REQUEST.prompt, 8, priority=Priority.CHAT)
    task = asyncio.create_task(text_of(engine, chat))
    await asyncio.sleep(1.5)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await engine.aclose()


async def test_an_unusable_certificate_file_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (None, "no certificate"):
        file = folder / "ca.pem"
        if content is not None:
            file.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        engine = RemoteEngine(Endpoint("https://127.0.0.1:9"), RemoteModel(None, folder))
        health = await engine.health()
        assert health.state is EngineState.FAILED
        assert "SSL_CERT_FILE" in health.detail
        await engine.aclose()


@pytest.mark.parametrize("health", ["[1]", '{"state": []}', '{"state": "ready"}', "null", None])
async def test_a_server_that_hangs_and_whose_health_says_nothing_is_silent(
    health: str | None, server: Server, folder: Path
) -> None:
    server.faults = {
        "/v1/models": "hang",
        "/health": b"HTTP/1.1 200 O" if health is None else response(200, health),
    }
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    seen = await engine.health()
    assert seen.state is EngineState.FAILED
    assert "does not answer" in seen.detail
    await engine.aclose()


async def test_an_address_that_accepts_no_connection_is_not_a_server_that_hangs(
    folder: Path,
) -> None:
    """A firewall that drops packets has the same effect."""
    with ExitStack() as stack:
        bound = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # the queue of the system is full, so it ignores further ones
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(bound.getsockname())
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        engine = RemoteEngine(Endpoint(url), RemoteModel(None, folder))
        detail = (await engine.health()).detail
        await engine.aclose()
    assert "it did not answer in time" in detail
