"""Keys, limits and records of users, over the real HTTP server."""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx2
import openai
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.api import (
    EngineState,
    GenerationRequest,
    Health,
    Progress,
    RenderedFim,
    TokenLogprob,
)
from engine.errors import ConfigurationError, ModelError, RequestError, StarcoderError
from engine.scripted import ScriptedEngine
from engine.server import access
from engine.server.app import create_app
from engine.server.operation.access_log import line_of
from engine.server.operation.request_record import EndReason, RequestRecord, record_of
from engine.server.users.accounts import Limits
from engine.server.users.guard import KeyRing, Users
from engine.server.users.key_file import SHARED_USER, StoredLimits, create_key, revoke_key
from tests.engine.server.serving import OUTPUT, connected_client, serving, until

BODY = {"prompt": "x", "max_tokens": 100}
OPEN_TO_ALL: set[tuple[str, str]] = set()
"""Methods and paths that need no key."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def alice(path: Path) -> str:
    return create_key(path, "alice", StoredLimits())


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def complete(url: str, key: str, **body: object) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=url, headers=bearer(key), timeout=20) as client:
        return await client.post("/v1/completions", json={**BODY, **body})


async def test_each_key_is_one_user(engine: ScriptedEngine, path: Path, alice: str) -> None:
    bob = create_key(path, "bob", StoredLimits())
    async with serving(engine, keys=KeyRing(path)) as endpoint:
        for key in (alice, bob):
            assert (await complete(endpoint.url, key)).status_code == 200
        for wrong in ("", "x", alice[:-1], alice + "x", alice.upper(), "Bearer"):
            answer = await complete(endpoint.url, wrong or "none")
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["connection"] == "close"  # the rest of its body is not read
    assert [request.user for request in engine.requests] == ["alice", "bob"]


async def test_openais_client_sends_the_key(engine: ScriptedEngine, path: Path, alice: str) -> None:
    async with (
        serving(engine, keys=KeyRing(path)) as endpoint,
        openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key=alice) as client,
    ):
        answer = await client.completions.create(model="any", prompt="x", max_tokens=100)
    assert answer.choices[0].text == OUTPUT


async def test_the_shared_token_works_next_to_keys(
    engine: ScriptedEngine, path: Path, alice: str
) -> None:
    async with serving(engine, keys=KeyRing(path), token="shared secret".replace(" ", "-")) as e:
        assert (await complete(e.url, alice)).status_code == 200
        assert (await complete(e.url, "shared-secret")).status_code == 200
        assert (await complete(e.url, "other")).status_code == 401
    assert [request.user for request in engine.requests] == ["alice", SHARED_USER]
    async with serving(engine, token="secret") as endpoint:
        assert (await complete(endpoint.url, "secret")).status_code == 200
        for wrong in ("s", "secre", "secret2", "Secret"):
            assert (await complete(endpoint.url, wrong)).status_code == 401
    assert engine.requests[-1].user == ""


async def test_the_limits_of_the_server_hold_for_the_shared_token(engine: ScriptedEngine) -> None:
    async with serving(engine, token="secret", limits=Limits(1)) as endpoint:
        statuses = [(await complete(endpoint.url, "secret")).status_code for _ in range(2)]
    assert statuses == [200, 429]


def test_other_headers_with_a_key_are_not_read(path: Path, alice: str) -> None:
    users = Users(None, KeyRing(path), Limits())
    for scheme in ("Bearer", "bearer ", "BEARER"):
        assert users.identify(f"{scheme} {alice}".encode()) is not None
    for credentials in (None, b"", alice.encode(), f"Basic {alice}".encode(), b"Bearer"):
        assert users.identify(credentials) is None
        assert Users("secret", None, Limits()).identify(credentials) is None
    assert Users("secret", None, Limits()).identify(b"Bearer ") is None


def test_a_changed_file_is_read_again(
    path: Path, alice: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ring, before = KeyRing(path), path.read_bytes()
    bob = create_key(path, "bob", StoredLimits())
    assert ring.find(bob.encode()) is None
    ring.refresh()
    revoke_key(path, "alice")
    assert ring.find(alice.encode()) is not None
    ring.refresh()
    assert ring.find(alice.encode()) is None
    entry = ring.find(bob.encode())
    assert entry is not None
    assert entry.name == "bob"
    path.write_bytes(before)  # from a backup
    ring.refresh()
    assert ring.find(alice.encode()) is not None
    assert ring.find(bob.encode()) is None
    caplog.clear()
    ring.refresh()
    assert not caplog.records
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("damage", ["text", "missing", "mode"])
def test_with_a_damaged_file_the_keys_stay_as_they_were(
    path: Path, alice: str, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    ring, content = KeyRing(path), path.read_bytes()
    if damage == "text":
        path.write_bytes(b"{")
    elif damage == "missing":
        path.unlink()
    else:
        path.chmod(0o644)
    for _ in range(3):
        ring.refresh()
        assert ring.find(alice.encode()) is not None
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the keys stay as they were" in error.getMessage()
    assert alice not in caplog.text
    with pytest.raises(ConfigurationError):
        KeyRing(path)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    ring.refresh()
    caplog.clear()
    path.chmod(0o644)  # later damage is reported again, also the same
    ring.refresh()
    assert "the keys stay as they were" in caplog.text
    path.chmod(0o600)
    revoke_key(path, "alice")
    ring.refresh()
    assert ring.find(alice.encode()) is None


async def test_a_revoked_key_stops_working_within_seconds(
    engine: ScriptedEngine, path: Path, alice: str
) -> None:
    ring = KeyRing(path)
    watching = asyncio.create_task(ring.watch())
    async with serving(engine, keys=ring) as endpoint:
        assert (await complete(endpoint.url, alice)).status_code == 200
        revoke_key(path, "alice")
        await until(lambda: ring.find(alice.encode()) is None, 5)
        assert (await complete(endpoint.url, alice)).status_code == 401
    watching.cancel()


async def test_no_route_can_be_used_without_a_key(
    engine: ScriptedEngine, path: Path, alice: str
) -> None:
    async def hidden(request: Request) -> Response:
        return Response(record_of(request.scope).user)

    further = Route("/new/{name}", hidden, methods=["POST", "GET"])
    app = create_app(engine, keys=KeyRing(path), further_routes=[further])
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://box") as client:
        routes = [route for route in app.routes if isinstance(route, Route)]
        assert len(routes) == len(app.routes) > 5  # there are no mounts
        for route in routes:
            for method in sorted(route.methods or ()):
                url = route.path.replace("{name}", "x")
                status = (await client.request(method, url, json=BODY)).status_code
                is_open = (method, route.path) in OPEN_TO_ALL
                assert status == (200 if is_open else 401), (method, route.path)
        answer = await client.post("/new/x", headers=bearer(alice))
        assert answer.text == "alice"
    assert engine.requests == []


class ScoringEngine(ScriptedEngine):
    """An engine that remembers whose texts it scores."""

    scored_for: str | None = None

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        self.scored_for = user
        return await super().score(ids, top, user=user, progress=progress)


async def test_whatever_a_route_asks_of_the_engine_belongs_to_the_user(
    path: Path, alice: str
) -> None:
    records: list[RequestRecord] = []
    engine = ScoringEngine(lambda _: OUTPUT)

    async def new_route(request: Request) -> Response:
        prompt = GenerationRequest(tuple(range(7, 17)), 100)
        text = "".join([c.text async for c in request.app.state.engine.stream(prompt)])
        await request.app.state.engine.score((7, 8, 9), 0)
        return Response(text)

    app = create_app(
        engine,
        keys=KeyRing(path),
        further_routes=[Route("/new", new_route, methods=["POST"])],
        observers=[records.append],
    )
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://box") as client:
        answer = await client.post("/new", headers=bearer(alice), json={})
    assert answer.text == OUTPUT
    assert engine.requests[0].user == engine.scored_for == "alice"
    assert (records[0].user, records[0].route) == ("alice", "/new")
    assert records[0].prompt_tokens == 13
    assert records[0].completion_tokens == len(OUTPUT)
    with pytest.raises(RuntimeError):
        await anext(app.state.engine.stream(GenerationRequest((9,), 1)))


async def test_limits_of_the_file_and_of_the_server(engine: ScriptedEngine, path: Path) -> None:
    alice = create_key(path, "alice", StoredLimits(requests_per_minute=1))
    bob = create_key(path, "bob", StoredLimits())
    async with serving(engine, keys=KeyRing(path), limits=Limits(2)) as endpoint:
        for key, allowed in ((alice, 1), (bob, 2)):
            for remaining in reversed(range(allowed)):
                answer = await complete(endpoint.url, key)
                assert answer.status_code == 200
                assert answer.headers["x-ratelimit-remaining-requests"] == str(remaining)
            answer = await complete(endpoint.url, key)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) in (59, 60, 29, 30)
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
            async with httpx2.AsyncClient(base_url=endpoint.url, headers=bearer(key)) as client:
                assert (await client.get("/v1/models")).status_code == 200
    assert len(engine.requests) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_of_prompts_and_outputs_count(
    engine: ScriptedEngine, alice: str, path: Path, stream: bool
) -> None:
    limits = Limits(tokens_per_minute=100)
    async with serving(engine, keys=KeyRing(path), limits=limits) as endpoint:
        first = await complete(endpoint.url, alice, prompt="x" * 50, stream=stream)
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-tokens"] == "100"
        second = await complete(endpoint.url, alice, prompt="x" * 50, stream=stream)
        assert second.status_code == 429
        assert second.json()["error"]["type"] == "tokens"
        small = await complete(endpoint.url, alice, prompt="x", max_tokens=1, stream=stream)
        assert small.status_code == 200
        large = await complete(endpoint.url, alice, prompt="x" * 101, stream=stream)
        assert large.status_code == 429
        assert "retry-after" not in large.headers
    assert len(engine.requests) == 2


def _has(records: list[RequestRecord], number: int) -> bool:
    return len(records) == number


def _has_written(engine: ScriptedEngine, num_tokens: int) -> bool:
    return engine.tokens_written >= num_tokens


async def test_a_cancelled_request_is_charged_what_it_used(alice: str, path: Path) -> None:
    engine = ScriptedEngine(lambda _: "x" * 900, seconds_per_token=0.01)
    ring, records = KeyRing(path), list[RequestRecord]()
    limits = Limits(tokens_per_minute=1000)
    async with serving(engine, keys=ring, limits=limits, observers=[records.append]) as endpoint:
        for number, stream in enumerate((True, False), start=1):
            request = asyncio.create_task(
                complete(endpoint.url, alice, prompt="x" * 100, max_tokens=900, stream=stream)
            )
            await until(partial(_has_written, engine, engine.tokens_written + 5))
            request.cancel()
            await until(partial(_has, records, number))
            record = records[-1]
            assert record.end is EndReason.CANCELLED
            assert record.prompt_tokens == 100
            assert 5 <= record.completion_tokens < 300
        used = sum(each.prompt_tokens + each.completion_tokens for each in records)
        assert record.account is not None
        remaining = int(record.account.headers()["x-ratelimit-remaining-tokens"])
        assert 1000 - used - 1 <= remaining < 1000 - used + 100


async def test_parallel_requests_of_a_user_are_limited(alice: str, path: Path) -> None:
    bob = create_key(path, "bob", StoredLimits())
    stuck = ScriptedEngine(lambda _: "x", seconds_per_token=60)
    limits = Limits(parallel_requests=2)
    async with serving(stuck, keys=KeyRing(path), limits=limits) as endpoint:
        waiting = [asyncio.create_task(complete(endpoint.url, alice)) for _ in range(2)]
        await until(lambda: len(stuck.requests) == 2)
        assert (await complete(endpoint.url, alice)).status_code == 429
        waiting.append(asyncio.create_task(complete(endpoint.url, bob)))
        await until(lambda: len(stuck.requests) == 3)
        waiting[0].cancel()
        await until(lambda: stuck.stopped_early == 1)
        waiting.append(asyncio.create_task(complete(endpoint.url, alice)))
        await until(lambda: len(stuck.requests) == 4)
        for task in waiting:
            task.cancel()


async def test_one_user_cannot_use_all_places(
    alice: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_REQUESTS_OF_ALL", 8)
    bob = create_key(path, "bob", StoredLimits())
    stuck = ScriptedEngine(lambda _: "x", seconds_per_token=60)
    async with serving(stuck, keys=KeyRing(path)) as endpoint:
        flood = [asyncio.create_task(complete(endpoint.url, alice)) for _ in range(8)]
        await until(lambda: sum(task.done() for task in flood) == 4)
        assert {task.result().status_code for task in flood if task.done()} == {503}
        # Everybody else may have four, more than are left.
        waiting = [asyncio.create_task(complete(endpoint.url, bob)) for _ in range(5)]
        await until(lambda: len(stuck.requests) == 8)
        await until(lambda: sum(task.done() for task in waiting) == 1)
        assert {task.result().status_code for task in waiting if task.done()} == {503}
        for task in (*flood, *waiting):
            task.cancel()


@pytest.mark.parametrize("has_length", [True, False])
async def test_the_size_of_bodies_is_limited(
    engine: ScriptedEngine, path: Path, has_length: bool
) -> None:
    alice = create_key(path, "alice", StoredLimits(body_bytes=1000))
    headers = {**bearer(alice), "Content-Type": "application/json"}

    async def pieces(content: bytes):  # type: ignore[no-untyped-def]
        for start in range(0, len(content), 100):
            yield content[start : start + 100]

    records: list[RequestRecord] = []
    async with (
        serving(engine, keys=KeyRing(path), observers=[records.append]) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url, headers=headers) as client,
    ):
        for size, status in ((900, 200), (1000, 200), (1001, 413), (5000, 413)):
            body = json.dumps(BODY).encode().ljust(size)
            content = body if has_length else pieces(body)
            # The connection is closed before the rest of a body has been read.
            with suppress(httpx2.ReadError, httpx2.WriteError):
                answer = await client.post("/v1/completions", content=content)
                assert answer.status_code == status, size
                if status == 413:
                    assert answer.json()["error"]["code"] == "body_too_large"
                    assert answer.headers["connection"] == "close"
            assert records[-1].status == status
    assert len(engine.requests) == 2


async def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent(
    engine: ScriptedEngine,
) -> None:
    async with serving(engine, limits=Limits(body_bytes=1000)) as endpoint:
        host, _, port = endpoint.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            "POST /v1/completions HTTP/1.1",
            f"Host: {host}",
            "Content-Type: application/json",
            "Content-Length: 1001",
        )
        writer.write("\r\n".join((*head, "", "")).encode())
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_user_may_have_no_limit_where_others_have_one(
    engine: ScriptedEngine, path: Path, alice: str
) -> None:
    bob = create_key(path, "bob", StoredLimits(body_bytes=0))
    async with serving(engine, keys=KeyRing(path), limits=Limits(body_bytes=1000)) as endpoint:
        assert (await complete(endpoint.url, bob, prompt="x" * 2000)).status_code == 200
        with suppress(httpx2.WriteError, httpx2.ReadError):
            assert (await complete(endpoint.url, alice, prompt="x" * 2000)).status_code == 413
    assert len(engine.requests) == 1


async def test_a_probe_with_a_key_belongs_to_its_user(
    engine: ScriptedEngine, path: Path, alice: str
) -> None:
    records: list[RequestRecord] = []
    async with (
        serving(engine, keys=KeyRing(path), observers=[records.append]) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as client,
    ):
        for headers in (bearer(alice), {}):
            assert (await client.get("/health", headers=headers)).status_code == 200
    assert [record.user for record in records] == ["alice", ""]


async def test_an_open_server_has_one_user_without_limits(engine: ScriptedEngine) -> None:
    records: list[RequestRecord] = []
    async with serving(engine, observers=[records.append]) as endpoint:
        answer = await complete(endpoint.url, "anything")
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
    assert engine.requests[0].user == ""
    assert records[0].user == ""


@dataclass
class FailingEngine(ScriptedEngine):
    """An engine that fails after some tokens."""

    error: Exception = field(default_factory=lambda: ModelError("The engine failed."))

    async def generate(self, request: GenerationRequest):  # type: ignore[no-untyped-def]
        async for chunk in super().generate(request):
            if self.tokens_written == 3:
                raise self.error
            yield chunk

    async def health(self) -> Health:
        return Health(EngineState.FAILED)


@pytest.mark.parametrize(
    ("method", "url", "body", "expected"),
    [
        ("POST", "/v1/completions", BODY, ("/v1/completions", 200, "finished")),
        ("POST", "/v1/completions", {**BODY, "stream": True}, ("/v1/completions", 200, "finished")),
        ("POST", "/v1/completions", {"prompt": 1.5}, ("/v1/completions", 400, "refused")),
        ("GET", "/v1/completions", None, ("/v1/completions", 405, "refused")),
        ("GET", "/secret/path?prompt=secret", None, ("", 404, "refused")),
        ("GET", "/health?x=secret", None, ("/health", 200, "finished")),
        ("HEAD", "/health", None, ("/health", 200, "finished")),
        ("OPTIONS", "/v1/completions", None, ("/v1/completions", 405, "refused")),
        ("DELETE", "/v1/models", None, ("/v1/models", 405, "refused")),
        ("SECRET", "/health", None, ("/health", 405, "refused")),
    ],
)
async def test_the_line_of_a_request(
    engine: ScriptedEngine,
    method: str,
    url: str,
    body: dict[str, object] | None,
    expected: tuple[str, int, str],
) -> None:
    records: list[RequestRecord] = []
    headers = {"User-Agent": 'secret"}\n{"user": "mallory"'.replace("\n", " ")}
    async with (
        serving(engine, observers=[records.append]) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as client,
    ):
        await client.request(method, url, json=body, headers=headers)
    (record,) = records
    assert (record.route, record.status, record.end) == expected
    line = line_of(record, datetime(2026, 1, 2, 3, 4, 5, 678901, UTC))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"secret" not in line.lower()
    assert OUTPUT.split()[0].encode() not in line
    content = json.loads(line)
    assert (content["status"], content["end"]) == expected[1:]
    assert content["time"] == "2026-01-02T03:04:05.678+00:00"
    assert content["method"] == ("other" if method == "SECRET" else method)
    is_answer = expected[2] == "finished" and method == "POST"
    assert content["prompt_tokens"] == (1 if is_answer else 0)
    assert content["completion_tokens"] == (len(OUTPUT) if is_answer else 0)
    assert (content["first_token_s"] is not None) is is_answer
    assert (content["queue_s"] is not None) is is_answer
    assert 0 <= (content["queue_s"] or 0) <= content["total_s"] < 20
    assert set(content) == {
        *("time", "user", "method", "route", "status", "end", "prompt_tokens"),
        *("completion_tokens", "reused_tokens", "queue_s", "first_token_s", "total_s"),
    }


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, 503)])
async def test_a_failure_of_the_engine_is_recorded(stream: bool, status: int) -> None:
    records: list[RequestRecord] = []
    engine = FailingEngine(lambda _: "x" * 10)
    async with serving(engine, observers=[records.append]) as endpoint:
        await complete(endpoint.url, "any", stream=stream)
    assert records[0].status == status
    assert records[0].end is EndReason.FAILED


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, 500)])
async def test_a_mistake_in_our_code_is_recorded_as_a_failure(stream: bool, status: int) -> None:
    records: list[RequestRecord] = []
    engine = FailingEngine(lambda _: "x" * 10, error=ZeroDivisionError())
    async with serving(engine, observers=[records.append]) as endpoint:
        with suppress(httpx2.RemoteProtocolError):  # a stream is cut off
            await complete(endpoint.url, "any", stream=stream)
    assert records[0].status == status
    assert records[0].end is EndReason.FAILED


async def test_a_request_that_the_engine_refuses_is_no_failure() -> None:
    records: list[RequestRecord] = []
    engine = FailingEngine(lambda _: "x" * 10, error=RequestError("The prompt is odd."))
    async with serving(engine, observers=[records.append]) as endpoint:
        assert (await complete(endpoint.url, "any")).status_code == 400
    assert records[0].end is EndReason.REFUSED


async def test_an_error_outside_of_the_engine_is_a_failure(engine: ScriptedEngine) -> None:
    def render(*_: object) -> RenderedFim:
        raise StarcoderError("The prompt cannot be rendered.")

    records: list[RequestRecord] = []
    async with (
        serving(engine, observers=[records.append], render_fim=render) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as client,
    ):
        body = {"prompt": "x", "suffix": "y", "max_tokens": 4}
        assert (await client.post("/v1/fim/completions", json=body)).status_code == 500
    assert records[0].end is EndReason.FAILED


async def test_the_time_of_a_request_ends_with_it(engine: ScriptedEngine) -> None:
    records: list[RequestRecord] = []
    async with serving(engine, observers=[records.append]) as endpoint:
        await complete(endpoint.url, "any")
        seconds = records[0].total_s
        await asyncio.sleep(0.01)
        assert records[0].total_s == seconds


async def test_a_refused_key_is_recorded_without_the_key(
    engine: ScriptedEngine, path: Path, alice: str
) -> None:
    records: list[RequestRecord] = []
    async with serving(engine, keys=KeyRing(path), observers=[records.append]) as endpoint:
        await complete(endpoint.url, alice + "x")
    line = line_of(records[0], datetime.now(UTC))
    assert alice.encode() not in line
    assert json.loads(line)["user"] is None
    assert json.loads(line)["status"] == 401


async def test_the_local_engines_requests_have_no_user(engine: ScriptedEngine) -> None:
    async with connected_client(engine) as client:
        await client.completions.create(model="any", prompt="x", max_tokens=1)
    assert engine.requests[0].user == ""
    assert engine.requests[0].progress is not None
