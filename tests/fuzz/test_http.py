"""The real engine process under requests made from its own description, and under raw bytes."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from engine.scripted import ScriptedEngine
from engine.server.app import create_app
from tests.fuzz.conftest import FUZZING, NUM_EXAMPLES

load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
    ]
)
"""The checks of the responses. Which values are accepted, the description does not say exactly:
like OpenAI's server, ours takes `null` for a default and `"1"` for a number."""

NORMAL = {"prompt": "def f(", "max_tokens": 1, "temperature": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a real engine process with the demo model."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "engine", "--model=demo", "--device=cpu", f"--port={port}"]
    process = subprocess.Popen(
        [
            *command,
            "--chat-renderer=chat.rendering:render",
            "--fim-renderer=fim.prompt.rendering:render",
        ],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "STARCODER_LSP_RUNTIME_DIR": "/nonexistent"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not is_ready(url):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        yield url
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return bool(httpx2.get(f"{url}/health").json()["state"] == "ready")
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def description(server: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
        ("GET", "/tokenizer.json"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/fim/completions"),
        ("GET", "/props"),
        ("POST", "/infill"),
        ("POST", "/completion"),
        ("POST", "/completions"),
        ("GET", "/api/version"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("POST", "/api/show"),
        ("POST", "/api/generate"),
        ("POST", "/api/chat"),
    ],
)
def test_every_response_is_as_described(
    description: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """The tests use operations one by one: the plugin for pytest does not know pytest 9."""
    is_post = method == "POST"
    if mode is GenerationMode.NEGATIVE and not is_post and path != "/tokenizer.json":
        return  # nothing to send can be wrong

    is_ours = path.startswith("/v1/")
    share = (1 if is_ours else 2) if is_post else 10

    @settings(FUZZING, max_examples=max(3, NUM_EXAMPLES // share))
    @given(case=description[path][method].as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        if isinstance(case.body, dict):
            limit_length(case.body)
        case.call_and_validate(checks=CHECKED)

    check()


def limit_length(body: dict[str, object]) -> None:
    """Let no request generate a whole context window."""
    for name in ("max_tokens", "max_completion_tokens", "n_predict"):
        if isinstance(number := body.get(name), int):
            body[name] = min(number, 3)
    body.setdefault("max_tokens", 3)
    if isinstance(options := body.setdefault("options", {}), dict):
        options.setdefault("num_predict", 3)


def test_all_urls_are_described(description: schemathesis.BaseSchema) -> None:
    assert {route.path for route in create_app(ScriptedEngine(lambda _: "")).routes} == set(
        description
    )


TEXTS = st.sampled_from(["", "x", "def f(x):\n", "é🎉", "<fim_prefix>", "\0", "a" * 300, "\n\n"])
"""Texts that tokenizers and stop strings may treat specially."""
IDS = st.lists(st.integers(-1, 50_000) | st.sampled_from([2**31, 2**63, 10**30]), max_size=6)
OPTIONS = st.fixed_dictionaries(
    {"prompt": TEXTS | IDS | st.lists(TEXTS, max_size=3) | st.lists(IDS, max_size=3)},
    optional={
        "max_tokens": st.integers(-1, 4) | st.none(),
        "stop": TEXTS | st.lists(TEXTS, max_size=65) | st.none(),
        "temperature": st.sampled_from([0, 1e-300, 1e-3, 1, 10, -1]),
        "top_p": st.sampled_from([1e-300, 0.5, 1, 0]),
        "top_k": st.sampled_from([-1, 0, 1, 2**31 - 1, 2**31]),
        "repetition_penalty": st.sampled_from([0.01, 1, 1.3, 100, 0]),
        "seed": st.sampled_from([0, -1, 2**63 - 1, 2**63]),
        "logprobs": st.integers(-1, 21) | st.none(),
        "echo": st.booleans(),
        "stream": st.booleans(),
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
        "stop_token_ids": IDS,
        "draft_tokens": IDS,
        "forced_prefix": TEXTS,
        "single_line": st.booleans(),
        "continue_line_after": st.lists(TEXTS, max_size=3),
        "return_token_ids": st.booleans(),
        "parse_special": st.booleans() | st.none(),
        "suffix": TEXTS | st.none(),
        "model": st.sampled_from(["demo", "", "any", "other", None]),
        "priority": st.integers(-5, 5),
        "adapter": st.sampled_from(["", "none", "../x", "a/b"]),
    },
)


@FUZZING
@given(body=OPTIONS)
def test_every_combination_of_options_is_answered(server: str, body: dict[str, object]) -> None:
    answer = httpx2.post(f"{server}/v1/completions", json={"max_tokens": 2, **body}, timeout=30)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]
    elif answer.headers["content-type"] == "application/json":
        json.loads(answer.text, parse_constant=lambda name: pytest.fail(name))
    else:
        assert answer.text.endswith("data: [DONE]\n\n")
        assert '"error"' not in answer.text


LLAMA_OPTIONS = st.fixed_dictionaries(
    {"input_prefix": TEXTS, "input_suffix": TEXTS},
    optional={
        "input_extra": st.lists(st.fixed_dictionaries({"text": TEXTS, "filename": TEXTS})),
        "prompt": TEXTS,
        "n_predict": st.integers(0, 4),
        "n_indent": st.integers(-1, 9),
        "t_max_predict_ms": st.sampled_from([-1, 0, 1e-9, 1, 2**31]),
        "temperature": st.sampled_from([-5, 0, 1e-300, 1, 10, 11]),
        "top_p": st.sampled_from([0, 1e-300, 1, 2]),
        "top_k": st.sampled_from([-1, 0, 1, 2**31]),
        "seed": st.sampled_from([-1, 0, 2**32 - 1, 2**63]),
        "stop": TEXTS | st.lists(TEXTS, max_size=65),
        "response_fields": st.lists(st.sampled_from(["", "/", "content", "timings/x", "a/b/c"])),
        "return_tokens": st.booleans(),
        "stream": st.booleans(),
    },
)
OLLAMA_OPTIONS = st.fixed_dictionaries(
    {"prompt": TEXTS},
    optional={
        "suffix": TEXTS | st.none(),
        "raw": st.booleans(),
        "stream": st.booleans() | st.none(),
        "system": TEXTS,
        "model": st.sampled_from(["demo", "demo:latest", "", "other"]),
        "template": TEXTS,
        "keep_alive": st.sampled_from([0, -1, "5m", None]),
        "options": st.fixed_dictionaries(
            {"num_predict": st.integers(0, 4)},
            optional={
                "temperature": st.sampled_from([0, 1e-300, 1, 11]),
                "top_p": st.sampled_from([0, 1e-300, 1, 2]),
                "stop": TEXTS | st.lists(TEXTS, max_size=65) | st.none(),
                "seed": st.sampled_from([-1, 0, 2**63, None]),
            },
        ),
    },
)


@settings(FUZZING, max_examples=max(3, NUM_EXAMPLES // 2))
@given(body=LLAMA_OPTIONS)
def test_llama_cpps_plugins_are_answered(server: str, body: dict[str, object]) -> None:
    answer = httpx2.post(f"{server}/infill", json={"n_predict": 2, **body}, timeout=30)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["code"] == 400
    elif body.get("stream"):
        pieces = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
        assert not any("error" in piece for piece in pieces)
    else:
        assert isinstance(answer.json(), dict)


@settings(FUZZING, max_examples=max(3, NUM_EXAMPLES // 2))
@given(body=OLLAMA_OPTIONS)
def test_ollamas_plugins_are_answered(server: str, body: dict[str, object]) -> None:
    body = {"options": {"num_predict": 2}, **body}
    answer = httpx2.post(f"{server}/api/generate", json=body, timeout=30)
    assert answer.status_code in (200, 400, 404), answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    if answer.status_code == 200:
        assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    else:
        assert [list(line) for line in lines] == [["error"]]


BODY = json.dumps(NORMAL).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WITH_LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            WITH_LENGTH + BODY,
            (WITH_LENGTH + BODY) * 3,
            WITH_LENGTH,
            BODY[:20],
            CHUNKED,
            b"%x\r\n" % len(BODY) + BODY + b"\r\n",
            b"0\r\n\r\n",
            b"ffffffffffffffffffff\r\n",
            b"-1\r\n",
            b"5;" + b"x" * 5000 + b"\r\nhello\r\n",
            HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
            HEAD + b"Content-Length: -1\r\n\r\n",
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
            HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /health HTTP/1.0\r\n\r\n",
            b"GET /health HTTP/9.9\r\n\r\n",
            b"GET http://attacker.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\r\n" * 50,
            b"X: " + b"y" * 20_000 + b"\r\n",
        ]
    ),
)


@FUZZING
@given(pieces=st.lists(PIECES, min_size=1, max_size=6), is_reset=st.booleans())
def test_the_server_answers_after_any_bytes(
    server: str, pieces: list[bytes], is_reset: bool
) -> None:
    port = int(server.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        if is_reset:  # close with RST, as a killed client may
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for piece in pieces:
            try:
                raw.sendall(piece)
            except OSError:  # the server has closed the connection
                break
    started = time.perf_counter()
    answer = httpx2.post(f"{server}/v1/completions", json=NORMAL, timeout=10)
    assert answer.status_code == 200
    assert time.perf_counter() - started < 1
