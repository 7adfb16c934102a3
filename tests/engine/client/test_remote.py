"""A server at a URL that misbehaves: what is reported, how often it is asked, and the way back."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.api import EngineState, GenerationRequest, Priority
from engine.client.endpoint import Endpoint
from engine.client.remote import RemoteEngine, Report
from engine.client.remote_model import RemoteModel
from engine.errors import (
    EngineLostError,
    EngineReplacedError,
    ModelNotFoundError,
    RequestError,
    StarcoderError,
)
from engine.scripted import ScriptedEngine, byte_tokenizer
from tests.engine.server.serving import serving
from tests.remote_server import HTML, Server, event, response, running, write_tokenizer

LIMIT_S = 20
REQUEST = GenerationRequest(tuple(byte_tokenizer().encode("x = ")), 8)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.client.remote.CHECK_S", 0.1)
    monkeypatch.setattr("engine.client.remote._LOADING_S", 0.05)
    monkeypatch.setattr("engine.client.remote._LEAST_S", 0.05)
    monkeypatch.setattr("engine.client.remote._OUTPUT_S", 0.5)
    monkeypatch.setattr("engine.client.remote_health.LIMIT_S", 0.5)
    monkeypatch.setattr("engine.client.remote_health._PATIENCE_S", 0.1)
    monkeypatch.setattr("engine.client.retry.FIRST_S", 0.1)
    monkeypatch.setattr("engine.client.retry.LONGEST_S", 0.4)
    monkeypatch.setattr("engine.client.http._STALL_S", 0.5)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "model")


@asynccontextmanager
async def watched(engine: RemoteEngine) -> AsyncIterator[list[Report]]:
    """Watch an engine inside the block, as an editor window does; yields the reports so far."""
    reports: list[Report] = []

    async def watch() -> None:
        async with aclosing(engine.reports()) as stream:
            async for report in stream:
                reports.append(report)

    task = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(LIMIT_S):
            yield reports
    finally:
        await engine.aclose()
        await asyncio.wait_for(task, 2)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def text_of(engine: RemoteEngine, request: GenerationRequest = REQUEST) -> str:
    await engine.info()
    return "".join([chunk.text async for chunk in engine.stream(request)])


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
    monkeypatch.setattr("engine.client.remote._SILENT_S", 0.4)
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


@pytest.mark.parametrize("asks", [True, False])
async def test_another_model_at_the_url_is_used(
    asks: bool, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asks:  # the request itself finds out
        monkeypatch.setattr("engine.client.remote.CHECK_S", 60)
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        assert (await engine.info()).model == "one"
        old_tokenizer = await engine.tokenizer()
        server.models = [{"id": "two", "max_model_len": 99}]
        if asks:
            gone = response(404, {"error": "no model one"})
            server.next_faults = [("/v1/completions", gone)]
            with pytest.raises(EngineReplacedError, match="two"):
                await text_of(engine)
        else:
            await until(lambda: reports[-1].info and reports[-1].info.model == "two")
            with pytest.raises(EngineReplacedError, match="two"):
                await anext(engine.stream(REQUEST))
        info = await engine.info()
        assert (info.model, info.context_window) == ("two", 99)
        assert await engine.tokenizer() is not old_tokenizer
        assert await text_of(engine) == "1"
        assert server.bodies[-1]["model"] == "two"
        assert reports[-1].generation == 2


async def test_a_model_of_the_same_name_with_other_weights_is_another(
    server: Server, folder: Path
) -> None:
    server.models = [{"id": "one", "root": "/a", "created": 1}]
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.models = [{"id": "one", "root": "/a", "created": 2}]
        await asyncio.sleep(0.3)
        assert reports[-1].generation == 1
        server.models = [{"id": "one", "root": "/b", "created": 3}]
        await until(lambda: reports[-1].generation == 2)


async def test_the_model_that_the_setting_names_is_used(server: Server, folder: Path) -> None:
    server.models.append({"id": "lora", "parent": "one", "max_model_len": 77})
    engine = RemoteEngine(server.endpoint, RemoteModel("lora", folder))
    assert (await engine.info()).context_window == 77
    assert await text_of(engine) == "1"
    assert server.bodies[-1]["model"] == "lora"
    await engine.aclose()
    missing = RemoteEngine(server.endpoint, RemoteModel("poet", folder))
    with pytest.raises(ModelNotFoundError, match=r"engineModel to one that it has \(one, lora\)"):
        await missing.info()
    await missing.aclose()


async def test_llama_cpp_lists_a_model_that_it_is_loading(server: Server, folder: Path) -> None:
    server.models = [{"id": "one", "owned_by": "llamacpp"}]
    loading = response(503, {"error": {"message": "Loading model", "code": 503}})
    server.faults["/health"] = loading
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.LOADING)
        task = asyncio.create_task(engine.info())
        await asyncio.sleep(0.3)
        assert not task.done()
        server.faults["*"] = loading  # older versions do not even list it
        await asyncio.sleep(0.3)
        assert reports[-1].state is EngineState.LOADING
        server.faults = {"/health": response(200, {"status": "ok"})}
        assert (await task).model == "one"


async def test_the_health_of_other_servers_is_not_asked(server: Server, folder: Path) -> None:
    """LiteLLM's `/health` asks every model."""
    server.faults["/health"] = response(500)
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        await asyncio.sleep(0.5)
    assert "/health" not in server.paths()


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


@pytest.mark.parametrize("state", [EngineState.STARTING, EngineState.LOADING])
async def test_our_own_server_reports_that_it_loads(state: EngineState) -> None:
    is_loaded, num_waiting, most_waiting = asyncio.Event(), 0, 0

    class Loading(ScriptedEngine):
        async def info(self) -> Any:
            nonlocal num_waiting, most_waiting
            num_waiting += 1
            most_waiting = max(most_waiting, num_waiting)
            try:
                await is_loaded.wait()
            finally:
                num_waiting -= 1
            return await super().info()

        async def health(self) -> Any:
            from engine.api import Health

            if is_loaded.is_set():
                return await super().health()
            return Health(state, "reading weights", 0.5, 7)

    async with serving(Loading(lambda _: "1"), token="secret") as endpoint:
        engine = RemoteEngine(endpoint)
        async with watched(engine) as reports:
            await until(lambda: reports and reports[-1].state is state)
            assert (reports[-1].detail, reports[-1].progress) == ("reading weights", 0.5)
            assert (await engine.health()).state is state
            await asyncio.sleep(1)  # several questions, each of which ends
            assert most_waiting <= 2
            is_loaded.set()
            await until(lambda: reports[-1].state is EngineState.READY)
            assert await text_of(engine) == "1"


async def test_requests_that_the_server_refuses_are_no_outage(server: Server, folder: Path) -> None:
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.faults["/v1/completions"] = response(400, {"error": "the prompt is too long"})
        with pytest.raises(RequestError, match="too long"):
            await text_of(engine)
        assert reports[-1].state is EngineState.READY


async def test_a_missing_tokenizer_is_no_ready_engine(server: Server) -> None:
    engine = RemoteEngine(server.endpoint)
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.FAILED)
        assert "starcoder.tokenizer" in reports[-1].detail


async def test_the_tokenizer_of_another_model_is_noticed(server: Server, folder: Path) -> None:
    ids = byte_tokenizer().encode("something else")
    server.faults["/tokenize"] = response(200, {"tokens": ids, "count": len(ids)})
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.FAILED)
        assert "starcoder.tokenizer" in reports[-1].detail
        from engine.client.tokenizer_check import _SAMPLE

        ids = byte_tokenizer().encode(" " + _SAMPLE)
        server.faults["/tokenize"] = response(200, {"tokens": ids, "count": len(ids)})
        await until(lambda: reports[-1].state is EngineState.READY)
    for odd in ({"tokens": ["a"]}, {"tokens": []}, {"tokens": [10**9]}, {}):
        server.faults["/tokenize"] = response(200, odd)
        other = RemoteEngine(server.endpoint, RemoteModel(None, folder))
        is_wrong = odd == {"tokens": [10**9]}
        assert (await other.health()).state is EngineState[("READY", "FAILED")[is_wrong]]
        await other.aclose()


async def test_the_folder_of_the_tokenizer_says_what_our_engine_would(
    server: Server, folder: Path
) -> None:
    (folder / "config.json").write_text('{"fim_form": "cursor", "model_type": "llama"}')
    (folder / "chat_template.jinja").write_text("T")
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    info = await engine.info()
    assert (info.fim_form, info.model_type, info.chat_template) == ("cursor", "llama", "T")
    (folder / "config.json").write_text("{")
    other = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    assert "starcoder.tokenizer" in (await other.health()).detail
    for each in (engine, other):
        await each.aclose()


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
