"""What another server says is wrong reaches the user, and nothing of Python does."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from engine.api import EngineState, GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.failures import message_in, raise_for_status, retry_after_s
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.errors import (
    ConfigurationError,
    EngineBusyError,
    EngineUnavailableError,
    ModelNotFoundError,
    RequestError,
    StarcoderError,
    reason_of,
)
from engine.scripted import byte_tokenizer

PYTHON = re.compile(r"Traceback|\[Errno|Error\b|Exception|\bNone\b|object at 0x|<class")
REQUEST = GenerationRequest((20, 21, 22), 4)


@asynccontextmanager
async def answering(*answers: tuple[str, bytes]) -> AsyncIterator[Endpoint]:
    """Serve raw responses over TCP: for each path the body after a status line and headers."""
    bodies = dict(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            response = bodies.get(path, bodies.get("*", b""))
            writer.write(response)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


def http(status: int, body: str | bytes | dict[str, Any], kind: str = "application/json") -> bytes:
    content = json.dumps(body) if isinstance(body, dict) else body
    raw = content.encode() if isinstance(content, str) else content
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


NGINX = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>" + "x" * 9999 + "</body>"
LOGIN = "<!DOCTYPE html><style>a{}</style><script>var x = 1;</script><h1>Sign&nbsp;in</h1>"

SHAPES: list[tuple[bytes, str]] = [
    (b'{"error": {"message": "the words", "type": "x", "code": null}}', "the words"),
    (b'{"object": "error", "message": "the words", "type": "BadRequestError"}', "the words"),
    (b'{"error": {"code": 400, "message": "the words", "type": "y"}}', "the words"),
    (b'{"error": "the words", "error_type": "validation"}', "the words"),
    (b'{"detail": "the words"}', "the words"),
    (b'{"detail": [{"loc": ["body"], "msg": "the words", "type": "z"}]}', "the words"),
    (b'{"error": {"error": {"message": "the words"}}}', "the words"),
    (b'[{"error": {"message": "the words"}}]', "the words"),
    (b'{"error": {"message": "the words", "type": "inval', "the words"),
    (b'{"error": {"message": "the words \\"quoted\\" and', 'the words "quoted" and'),
    (b'{"message": "caf\\u00e9 the wor', "caf\u00e9 the wor"),
    (NGINX.encode(), "502 Bad Gateway"),
    (LOGIN.encode(), "Sign in"),
    (b"the words\n", "the words"),
    (b"a < b is the rule", "a < b is the rule"),
    ("Zugriff verweigert: \u00fc".encode("latin-1"), "Zugriff verweigert: \ufffd"),
    (b"a\x1b[31mred\x07", "a [31mred"),
    (b"", ""),
    (b"{}", ""),
    (b"null", ""),
    (b'{"error": null}', ""),
    (b'{"error": 7}', ""),
    (b"{" * 100_000, ""),
    (b"[" * 100_000, ""),
]


@pytest.mark.parametrize(("content", "words"), SHAPES, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 503])
def test_the_servers_words_are_kept(content: bytes, words: str, status: int) -> None:
    with pytest.raises(StarcoderError) as raised:
        raise_for_status(status, content, "http://it")
    message = raised.value.user_message
    assert words in message
    assert not re.search(r"Traceback|\[Errno|<html|<body|\x1b|\bNone\b", message)
    assert len(message) < 600
    if status != 400 and status != 418:
        assert str(status) in message


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (401, ConfigurationError, "starcoder.engineToken"),
        (407, ConfigurationError, "starcoder.engineToken"),
        (403, ConfigurationError, "starcoder.engineToken"),
        (404, ConfigurationError, "starcoder.engineUrl"),
        (404, ConfigurationError, "starcoder.engineModel"),
        (422, RequestError, "the words"),
        (429, EngineBusyError, "starcoder.engineToken"),
        (500, EngineUnavailableError, "starcoder.engineUrl"),
        (502, EngineUnavailableError, "starcoder.engineUrl"),
    ],
)
def test_each_status_says_what_to_do(status: int, kind: type[StarcoderError], advice: str) -> None:
    with pytest.raises(StarcoderError, match=re.escape(advice)) as raised:
        raise_for_status(status, b'{"error": {"message": "the words"}}', "http://it")
    assert type(raised.value) is kind
    raise_for_status(299, b"", "http://it")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://login.example/x?next=SECRET", "redirects to https://login.example (HTTP 302)"),
        ("/login?next=SECRET", "redirects to /login (HTTP 302)"),
        ("https://user:SECRET@login.example", "redirects to https://login.example (HTTP 302)"),
        ("http://[", "redirects (HTTP 302)"),
        ("", "redirects (HTTP 302)"),
    ],
)
def test_a_redirect_names_its_target_and_no_secret(location: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as raised:
        raise_for_status(302, b"<html>", "http://it", {"location": location})
    assert "SECRET" not in raised.value.user_message
    assert "starcoder.engineUrl" in raised.value.user_message
    with pytest.raises(ConfigurationError):
        raise_for_status(300, b"", "http://it")


def test_the_time_that_a_server_wishes_is_kept() -> None:
    with pytest.raises(EngineBusyError) as raised:
        raise_for_status(429, b"", "http://it", {"retry-after": "7"})
    assert raised.value.retry_after_s == 7
    with pytest.raises(EngineUnavailableError) as raised_503:
        raise_for_status(503, b"", "http://it")
    assert raised_503.value.retry_after_s is None


@pytest.mark.parametrize("value", ["", "soon", "-3", "inf", "nan", "Mon, 99 Jan 2020", "1e999"])
def test_a_wish_that_is_no_time_is_ignored(value: str) -> None:
    assert retry_after_s(value) is None


def test_a_wish_may_be_a_date() -> None:
    date = formatdate(time.time() + 60, usegmt=True)
    assert 55 < (retry_after_s(date) or 0) <= 60
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") is None


def test_our_own_errors_keep_their_class_and_text() -> None:
    content = b'{"error": {"message": "There is no model x.", "type": "model_not_found"}}'
    with pytest.raises(ModelNotFoundError, match=r"^There is no model x\.$"):
        raise_for_status(404, content, "http://it")


def test_a_long_message_is_cut() -> None:
    assert len(message_in("word " * 1000)) < 320


COMPLETIONS: list[tuple[str, bytes]] = [
    ("cannot be read", http(200, "<html><title>Welcome</title>", "text/html")),
    ("a list", http(200, "[]")),
    ("no model", http(200, {"data": []})),
    ("a number", http(200, {"data": [7]})),
    ("no JSON", http(200, '{"data": [{"id": "x"')),
    ("not HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("nothing", b""),
    ("cut", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    (
        "bad compression",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ),
]


@pytest.mark.parametrize(("name", "response"), COMPLETIONS, ids=[name for name, _ in COMPLETIONS])
async def test_a_server_that_is_no_engine_gives_one_clear_sentence(
    name: str, response: bytes
) -> None:
    async with answering(("*", response)) as endpoint:
        engine = HttpEngine(endpoint)
        with pytest.raises(StarcoderError) as raised:
            await engine.info()
        await engine.health()
        await engine.aclose()
    message = raised.value.user_message
    assert endpoint.url in message
    assert not PYTHON.search(message)


EVENTS: list[bytes] = [
    b"data: {\n\n",
    b"data: []\n\n",
    b'data: {"choices": [7]}\n\n',
    b'data: {"choices": [{"text": 7, "finish_reason": "stop", "logprobs": {"tokens": []}}]}\n\n',
    b'data: {"choices": [{"text": "x"}]}\n\n',
    b'data: {"error": {"message": "the words"}}\n\n',
]


@pytest.mark.parametrize("event", EVENTS, ids=str)
async def test_an_event_that_cannot_be_read_is_an_error_for_the_user(
    event: bytes, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_tokenizer().to_json(), encoding="utf-8")
    answers = [
        ("/v1/models", http(200, {"data": [{"id": "x"}]})),
        ("/v1/completions", http(200, event, "text/event-stream")),
    ]
    async with answering(*answers) as endpoint:
        engine = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        with pytest.raises(StarcoderError) as raised:
            [chunk async for chunk in engine.stream(REQUEST)]
        await engine.aclose()
    assert not PYTHON.search(raised.value.user_message)
    if b"words" in event:
        assert "the words" in raised.value.user_message


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "nothing listens there"),
        ("http://no-such-host.invalid", "no host of this name"),
        ("https://127.0.0.1:PORT", "does not speak TLS"),
    ],
)
async def test_why_nothing_answers_at_a_url(url: str, reason: str) -> None:
    async with answering(("*", b"plain text\r\n")) as endpoint:
        address = url.replace("PORT", endpoint.url.rpartition(":")[2])
        engine = HttpEngine(Endpoint(address))
        with pytest.raises(EngineUnavailableError, match=reason) as raised:
            await engine.info()
        health = await engine.health()
        await engine.aclose()
    assert health.state is EngineState.FAILED
    assert "starcoder.engineUrl" in raised.value.user_message
    assert not PYTHON.search(raised.value.user_message)


async def test_a_server_without_our_health_url_is_ready_if_it_lists_a_model() -> None:
    listing = ("/v1/models", http(200, {"data": [{"id": "x"}]}))
    for answers, state in (((), EngineState.FAILED), ((listing,), EngineState.READY)):
        async with answering(*answers, ("*", http(404, ""))) as endpoint:
            engine = HttpEngine(endpoint)
            assert (await engine.health()).state is state
            await engine.aclose()
    async with answering(("*", http(401, {"error": {"message": "no"}}))) as endpoint:
        engine = HttpEngine(endpoint)
        health = await engine.health()
        assert health.state is EngineState.FAILED
        assert "starcoder.engineToken" in health.detail
        await engine.aclose()


def error_of(code: str) -> BaseException:
    try:
        exec(code, {"json": json})
    except Exception as error:
        return error
    raise AssertionError(code)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("open('/dev/null/x')", "not a directory"),
        ("json.loads('{')", "it is not valid JSON (line 1)"),
        ("b'\\xff'.decode()", "it is not UTF-8 text"),
        ("{}['n_embd']", "n_embd is missing"),
        ("int('x')", "a value in it cannot be used"),
        ("float('x')", "a value in it cannot be used"),
        ("None + 1", "a value in it cannot be used"),
        ("None.x", "a value in it cannot be used"),
        ("[][0]", "a value in it cannot be used"),
        ("1 / 0", "a value in it cannot be used"),
        ("a, b = 1, 2, 3", "a value in it cannot be used"),
        ("raise ValueError('The window is too small.')", "The window is too small"),
        ("raise ValueError('first\\nsecond')", "first"),
        ("raise ValueError", "a value in it cannot be used"),
    ],
)
def test_a_reason_has_no_wording_of_python(code: str, reason: str) -> None:
    assert reason_of(error_of(code)) == reason


def test_a_reason_is_short_and_can_be_written() -> None:
    assert len(reason_of(ValueError("x" * 10_000))) < 400
    assert reason_of(RequestError("Do this.")) == "Do this"
    assert RequestError("a\udcffb").user_message == "a?b"
