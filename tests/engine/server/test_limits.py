"""Bounded requests: sizes, numbers and times, each with a clear refusal."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from engine.api import Chunk, GenerationRequest, Progress, TokenLogprob, Usage
from engine.client.endpoint import Endpoint
from engine.client.failures import read_error
from engine.errors import EngineBusyError
from engine.scripted import ScriptedEngine, byte_tokenizer
from engine.server import access as access_module
from engine.server import bodies, connection, limits, lingering, wire
from engine.server.access import Activity
from tests.engine.server.serving import connected_client, post, serving, until

USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("completions", {"stop": "x" * 1001}, "stop"),
        ("completions", {"stop": ["x" * 1001]}, "stop"),
        ("completions", {"stop": ["x"] * 65}, "stop"),
        ("completions", {"continue_line_after": ["x"] * 65}, "continue_line_after"),
        ("completions", {"continue_line_after": ["x" * 1001]}, "continue_line_after"),
        ("completions", {"forced_prefix": "x" * 4001}, "forced_prefix"),
        ("completions", {"draft_tokens": [9] * 2049}, "draft_tokens"),
        ("completions", {"draft_tokens": [-1]}, "draft_tokens"),
        ("completions", {"stop_token_ids": [9] * 1025}, "stop_token_ids"),
        ("completions", {"prompt": ["x"] * 257}, "prompt"),
        ("completions", {"prompt": [-1]}, "prompt"),
        ("completions", {"prompt": [2**31]}, "prompt"),
        ("completions", {"prompt": [10**9], "echo": True, "max_tokens": 0}, "vocabulary"),
        ("completions", {"seed": 2**63}, "seed"),
        ("completions", {"seed": -(2**63)}, "seed"),
        ("completions", {"n": 2}, "n"),
        ("completions", {"n": 0}, "n"),
        ("completions", {"logprobs": 21}, "logprobs"),
        ("completions", {"max_tokens": 2**31}, "max_tokens"),
        ("completions", {"repetition_penalty": 0}, "repetition_penalty"),
        ("completions", {"repetition_penalty": 1e-300}, "repetition_penalty"),
        ("completions", {"model": "x" * 513}, "model"),
        ("completions", {"adapter": "x" * 513}, "adapter"),
        ("completions", {"prompt": [9] * 30_000, "echo": True, "logprobs": 20}, "logprobs"),
        ("chat/completions", {"messages": [USER] * 1025}, "messages"),
        ("chat/completions", {"messages": [{"role": "x" * 513, "content": ""}]}, "role"),
        ("chat/completions", {"messages": [USER], "top_logprobs": 21}, "top_logprobs"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text"}] * 1025}]},
            "content",
        ),
    ],
)
async def test_a_field_beyond_its_limit_is_named(
    client: openai.AsyncOpenAI, path: str, fields: dict[str, Any], name: str
) -> None:
    body = {"prompt": "x", "max_tokens": 1} if path == "completions" else {}
    answer = await post(client, path, body | fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert name in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize("text", ["Infinity", "NaN", "1e999"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "repetition_penalty"])
async def test_numbers_are_finite(client: openai.AsyncOpenAI, text: str, field: str) -> None:
    async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
        answer = await plain.post(
            "completions",
            content=f'{{"prompt": "x", "{field}": {text}}}',
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 400


async def test_the_prompts_of_a_request_are_bounded_together(
    client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.completions.MAX_PROMPT_TOKENS", 10)
    assert (await post(client, "completions", {"prompt": ["12345"] * 2})).status_code == 200
    answer = await post(client, "completions", {"prompt": ["12345"] * 3})
    assert answer.status_code == 400
    assert "10 tokens together" in answer.json()["error"]["message"]


BODY = json.dumps({"prompt": "x", "max_tokens": 1}).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Connection:
    """A raw connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, seconds: float = 5.0) -> str:
        """All that the server sends until it closes the connection."""
        try:
            return (await asyncio.wait_for(self.reader.read(-1), seconds)).decode()
        except ConnectionResetError:
            return ""


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Connection]:
    port = int(endpoint.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_large_body_is_refused_before_it_has_arrived(
    engine: ScriptedEngine, is_chunked: bool
) -> None:
    async with serving(engine) as endpoint, connected(endpoint) as raw:
        if is_chunked:
            await raw.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(limits.MAX_BODY_BYTES // 2**16 + 1):
                await raw.send(b"10000\r\n" + b" " * 2**16 + b"\r\n")
        else:
            await raw.send(HEAD + b"Content-Length: %d\r\n\r\n" % (limits.MAX_BODY_BYTES + 1))
        answer = await raw.answer()
    assert answer.startswith("HTTP/1.1 413")
    assert f"{limits.MAX_BODY_BYTES:,} bytes" in answer
    assert engine.requests == []


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_refusal_reaches_a_client_that_still_sends(
    engine: ScriptedEngine, is_chunked: bool
) -> None:
    pieces = 20
    async with serving(engine, token="secret") as endpoint, connected(endpoint) as raw:
        length = b"Content-Length: %d" % (pieces * 2**16)
        await raw.send(HEAD + (b"Transfer-Encoding: chunked" if is_chunked else length))
        await raw.send(b"\r\n\r\n")
        await asyncio.sleep(0.2)  # the server has refused the request by now
        started = time.monotonic()
        for _ in range(pieces):
            await raw.send(b"10000\r\n" + b" " * 2**16 + b"\r\n" if is_chunked else b" " * 2**16)
            await asyncio.sleep(0.005)
        if is_chunked:
            await raw.send(b"0\r\n\r\n")
        answer = await raw.answer()
        assert time.monotonic() - started < limits.LINGER_SECONDS / 2
    assert answer.startswith("HTTP/1.1 401")
    assert "bearer token" in answer


@pytest.mark.parametrize(("size", "seconds"), [(10**9, 0.0), (10**9, 0.02), (1000, 0.3)])
async def test_a_refused_client_cannot_send_without_end(
    engine: ScriptedEngine, size: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 0.4 if seconds else 60)
    async with serving(engine, token="secret") as endpoint, connected(endpoint) as raw:
        await raw.send(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        sent, started = 0, time.monotonic()
        while not (raw.writer.is_closing() or time.monotonic() - started > 5):
            piece = b" " * (1 if size == 1000 else 2**16)
            raw.writer.write(piece)
            sent += len(piece)
            await asyncio.sleep(seconds)
        assert raw.writer.is_closing()
        assert sent < 100 * limits.MAX_BODY_BYTES


async def test_a_body_of_the_largest_size_is_read(engine: ScriptedEngine) -> None:
    async with serving(engine) as endpoint, connected(endpoint) as raw:
        body = BODY + b" " * (limits.MAX_BODY_BYTES - len(BODY))
        await raw.send(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await raw.answer()).startswith("HTTP/1.1 200")


async def test_large_headers_are_refused(engine: ScriptedEngine) -> None:
    async with serving(engine) as endpoint, connected(endpoint) as raw:
        await raw.send(HEAD + b"X: " + b"x" * (limits.MAX_HEAD_BYTES + 1))
        answer = await raw.answer()
    assert answer.startswith("HTTP/1.1 431")
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"]["code"] == "invalid_http"


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"POST /v1/comp",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD.replace(b"/json", b"/xml") + b"Content-Length: 100\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
async def test_an_unfinished_request_is_closed_and_is_no_activity(
    engine: ScriptedEngine, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(connection, "_BODY_GRACE_S", 0.3)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 0.3)
    activity = Activity()
    async with serving(engine, activity=activity) as endpoint, connected(endpoint) as raw:
        await raw.send(start)
        await asyncio.sleep(0.1)
        assert activity.idle_seconds > 0.05
        started = time.monotonic()
        answer = await raw.answer()
        assert time.monotonic() - started < 2
    statuses = [line for line in answer.splitlines() if line.startswith("HTTP/1.1")]
    assert statuses
    assert all(status[9:12] in ("408", "415", "200") for status in statuses)


async def test_bytes_that_drip_do_not_keep_a_connection(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    async with serving(engine) as endpoint, connected(endpoint) as raw:
        started = time.monotonic()
        # A reset connection is reported by `is_closing`, not as the end of the stream.
        while not (raw.writer.is_closing() or raw.reader.at_eof()):
            raw.writer.write(b"X")
            await asyncio.sleep(0.02)
            assert time.monotonic() - started < 3
        assert 0.2 < time.monotonic() - started < 2


async def test_a_slow_client_with_a_complete_request_is_not_closed(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    engine.seconds_per_token = 0.05
    body = json.dumps({"prompt": "x", "max_tokens": 15}).encode()
    head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(engine) as endpoint, connected(endpoint) as raw:
        await raw.send(head + body)
        assert (await raw.answer()).startswith("HTTP/1.1 200")


async def test_a_client_that_reads_nothing_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.3)
    engine = ScriptedEngine(lambda _: "x" * 100_000, seconds_per_token=0)
    body = json.dumps({"prompt": "x", "max_tokens": 90_000, "stream": True}).encode()
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    async with serving(engine) as endpoint:
        raw = socket.create_connection(("127.0.0.1", int(endpoint.url.rpartition(":")[2])))
        with raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(head + body)
            await until(lambda: engine.stopped_early == 1, 20)
    assert engine.tokens_written < 90_000


@pytest.fixture
def few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "MAX_REQUESTS", 2)


@pytest.mark.usefixtures("few_requests")
async def test_requests_beyond_the_limit_are_asked_to_wait() -> None:
    stuck = ScriptedEngine(lambda _: "x", seconds_per_token=60)
    async with connected_client(stuck) as client:
        waiting = [
            asyncio.create_task(client.completions.create(model="any", prompt="x"))
            for _ in range(2)
        ]
        await until(lambda: len(stuck.requests) == 2)
        answer = await post(client, "completions", {"prompt": "x"})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert isinstance(read_error(answer.json(), 503, "here"), EngineBusyError)
        assert [model async for model in client.models.list()]  # not a request for output
        waiting[0].cancel()
        await until(lambda: stuck.stopped_early == 1)
        third = asyncio.create_task(client.completions.create(model="any", prompt="x"))
        await until(lambda: len(stuck.requests) == 3)
        for task in (waiting[1], third):
            task.cancel()


async def test_connections_beyond_the_limit_are_closed(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    async with serving(engine) as endpoint:
        async with connected(endpoint), connected(endpoint), connected(endpoint) as third:
            answer = await third.answer()
            assert answer.startswith("HTTP/1.1 503")
            assert "retry-after: 1" in answer.lower()
        await asyncio.sleep(0.1)
        async with httpx2.AsyncClient(base_url=endpoint.url) as plain:
            assert (await plain.get("/health")).status_code == 200


async def test_a_request_has_ended_when_its_body_is_refused(engine: ScriptedEngine) -> None:
    activity = Activity()
    async with (
        serving(engine, activity=activity) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as plain,
    ):
        for content in (b"{", BODY):
            headers = {"Content-Type": "application/json"}
            await plain.post("/v1/completions", content=content, headers=headers)
            await until(lambda: activity.idle_seconds > 0)


class TestLargeResponses:
    def test_log_probabilities_take_linear_time(self) -> None:
        tokenizer = byte_tokenizer()
        ids = tokenizer.encode("abc" * 30_000)
        scores = [TokenLogprob(id_, -1.0, ((id_, -1.0), (ids[0], -2.0))) for id_ in ids]
        started = time.perf_counter()
        logprobs = wire.completion_logprobs(scores, ids, tokenizer, 5)
        assert time.perf_counter() - started < 5  # the quadratic sum took minutes
        assert logprobs["text_offset"] == list(range(5, 5 + len(ids)))
        assert logprobs["tokens"][:4] == ["a", "b", "c", "a"]

    def test_an_impossible_token_has_a_finite_log_probability(self) -> None:
        scores = [TokenLogprob(9, float("-inf"), ((9, -0.5), (10, float("-inf"))))]
        logprobs = wire.completion_logprobs(scores, [9], byte_tokenizer(), 0)
        assert logprobs["token_logprobs"] == [-9999.0]
        assert logprobs["starcoder_top"] == [[(9, -0.5)]]
        chat = wire.chat_logprobs(scores, byte_tokenizer())
        json.dumps(chat, allow_nan=False)

    @pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 1700])
    def test_a_long_response_is_the_same_json(self, size: int) -> None:
        payload = {
            "choices": [
                {"tokens": [f"é{n}" for n in range(size)], "text": "x"},
                {"top": [{"a": 1}]},
            ],
            "scores": [[(1, 0.5)], None] * size,
            "usage": {"a": 1.5, "b": None},
            "none": [],
        }
        assert json.loads(wire.encode(payload)) == json.loads(json.dumps(payload))


class SlowScore(ScriptedEngine):
    """An engine whose scores never come."""

    is_cancelled = False

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        self.requests.append(GenerationRequest(ids, 1))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        return []


async def test_scoring_stops_when_the_client_disconnects() -> None:
    engine = SlowScore(lambda _: "x")
    async with connected_client(engine) as client:
        response = client.completions.create(
            model="any", prompt="x", max_tokens=0, echo=True, logprobs=1
        )
        task = asyncio.create_task(response)
        await until(lambda: len(engine.requests) == 1)
        task.cancel()
        await until(lambda: engine.is_cancelled)


async def test_no_further_prompt_is_started_when_the_client_disconnects() -> None:
    engine = ScriptedEngine(lambda _: "x" * 50, seconds_per_token=0.01)
    async with connected_client(engine) as client:
        response = client.completions.create(model="any", prompt=["x"] * 50, max_tokens=50)
        task = asyncio.create_task(response)
        await until(lambda: len(engine.requests) == 2)
        task.cancel()
        await until(lambda: engine.stopped_early == 1)
        await asyncio.sleep(0.3)
    assert len(engine.requests) == 2


def test_usage_and_chunk_are_those_of_the_contract() -> None:
    choice = wire.completion_piece(Chunk("x", (9,), (), (1,)), None, with_ids=True)
    assert choice["token_ids"] == [9]
    assert choice["starcoder_ends"] == [1]
    assert wire.usage_body(Usage(1, 2, 0, 0.0, 0.0))["total_tokens"] == 3


@pytest.mark.parametrize(
    "value",
    [
        limits.MAX_PROMPTS,
        limits.MAX_PROMPT_TOKENS,
        limits.MAX_MESSAGES,
        limits.MAX_STOPS,
        limits.MAX_STOP,
        limits.MAX_FORCED_PREFIX,
        limits.MAX_DRAFT_TOKENS,
        limits.MAX_STOP_IDS,
        limits.MAX_ALTERNATIVES,
        limits.MAX_SCORES,
        limits.MAX_REQUESTS,
        limits.MAX_CONNECTIONS,
        f"{limits.MAX_BODY_BYTES // 2**20} MiB",
        f"{limits.BODY_BURST_BYTES // 2**20} MiB",
        f"{limits.BODY_BYTES_PER_S // 2**10} KiB per second",
        f"{limits.MAX_HEAD_BYTES // 2**10} KiB",
        f"{limits.HEAD_SECONDS:.0f} s",
        f"{limits.BODY_SECONDS:.0f} s",
        f"{limits.SEND_SECONDS:.0f} s",
    ],
)
def test_the_limits_are_documented(value: int | str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "engine.md").read_text(encoding="utf-8")
    table = page.partition("**Limits.**")[2]
    shown = f"{value:,}" if isinstance(value, int) else value
    assert re.search(rf"(?<![\d,]){re.escape(shown)}(?![\d,]*\d)", table)
