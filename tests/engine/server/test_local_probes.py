"""`/health` and `/metrics` need no token from this machine itself, and one from everywhere else."""

from collections.abc import Mapping

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.errors import EngineBusyError
from engine.scripted import ScriptedEngine
from engine.server.app import create_app
from engine.server.operation.draining import Drain
from tests.engine.server.serving import serving

TOKEN = {"Authorization": "Bearer secret"}


async def status(
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    peer: str = "127.0.0.1",
    host: str | None = "0.0.0.0",
    url: str = "http://127.0.0.1:8765",
    method: str = "GET",
) -> int:
    """The status of a request without a token, from this peer."""
    app = create_app(ScriptedEngine(lambda _: "x"), token="secret", host=host)
    transport = httpx2.ASGITransport(app=app, client=(peer, 1))
    async with httpx2.AsyncClient(transport=transport, base_url=url) as plain:
        return (await plain.request(method, path, headers=headers or {})).status_code


@pytest.mark.parametrize("path", ["/health", "/metrics"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.7.6", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_needs_no_token(path: str, peer: str) -> None:
    assert await status(path, peer=peer) == 200
    assert await status(path, peer=peer, method="HEAD") == 200


@pytest.mark.parametrize("path", ["/health", "/metrics"])
@pytest.mark.parametrize("peer", ["192.168.0.2", "10.0.0.1", "::2", "::ffff:10.0.0.1", "", "name"])
async def test_other_machines_need_the_token(path: str, peer: str) -> None:
    assert await status(path, peer=peer) == 401
    assert await status(path, TOKEN, peer=peer) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": ""},
        {"x-forwarded-proto": "https"},
        {"Forwarded": "for=203.0.113.7"},
        {"X-Real-IP": "203.0.113.7"},
        {"Via": "1.1 proxy"},
        {"True-Client-IP": "203.0.113.7"},
        {"CF-Connecting-IP": "203.0.113.7"},
        {"X-Envoy-External-Address": "203.0.113.7"},
        {"Origin": "https://attacker.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "box.example"},
        {"Host": "attacker.example:8765"},
    ],
)
async def test_a_proxy_or_a_web_page_is_not_this_machine(headers: dict[str, str]) -> None:
    for path in ("/health", "/metrics"):
        assert await status(path, headers) == 401
        assert await status(path, {**headers, **TOKEN}) == 200


async def test_nothing_else_is_open() -> None:
    for path in ("/v1/models", "/tokenizer.json", "/openapi.json", "/health/", "/none"):
        assert await status(path) == 401
    assert await status("/metrics", method="POST") == 401
    assert await status("/health", host=None) == 401  # a proxy may use a Unix socket


async def test_a_proxy_that_adds_no_header_is_recognized_by_its_protocol() -> None:
    """nginx without any settings asks servers with HTTP/1.0."""
    import asyncio

    async with serving(ScriptedEngine(lambda _: "x"), token="secret") as endpoint:
        host, _, port = endpoint.url.removeprefix("http://").partition(":")
        statuses = []
        for version in ("1.1", "1.0"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                f"GET /metrics HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            statuses.append((await reader.readline()).split()[1])
            writer.close()
    assert statuses == [b"200", b"401"]


async def test_health_says_whether_requests_are_answered() -> None:
    drain = Drain()
    app = create_app(ScriptedEngine(lambda _: "x"), host=None, drain=drain)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as plain:
        assert (await plain.get("/health")).status_code == 200
        drain.begin(60)
        answer = await plain.get("/health")
        assert (await plain.get("/metrics")).status_code == 200
        refused = await plain.get("/v1/models")
    assert refused.status_code == 503
    assert refused.headers["connection"] == "close"
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == (EngineBusyError.kind, "draining")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["state"] == "draining"


async def test_a_request_that_failed_does_not_delay_the_end() -> None:
    def fail(_: Request) -> Response:
        raise ZeroDivisionError

    drain = Drain()
    app = create_app(
        ScriptedEngine(lambda _: "x"), drain=drain, further_routes=[Route("/fail", fail)]
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as plain:
        assert (await plain.get("/fail")).status_code == 500
    drain.begin(60)
    assert drain.is_over
