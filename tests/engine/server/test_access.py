"""Who may send requests: web pages and foreign hosts may not, also without a token."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import httpx2
import openai
import pytest

from engine.api import GenerationRequest
from engine.client.http import HttpEngine
from engine.scripted import ScriptedEngine
from engine.server.app import create_app
from engine.server.openapi import describe
from tests.engine.server.serving import OUTPUT, serving

BODY = {"prompt": "x", "max_tokens": 2}


async def status(
    engine: ScriptedEngine,
    headers: Mapping[str, str],
    *,
    host: str | None = "127.0.0.1",
    token: str | None = None,
) -> int:
    """The status of a completion request with these headers."""
    transport = httpx2.ASGITransport(app=create_app(engine, host=host, token=token))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as plain:
        answer = await plain.post("/v1/completions", json=BODY, headers=headers)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"].endswith(".")
        assert engine.requests == []
    return answer.status_code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8765", 200),
        ("127.9.8.7", 200),
        ("[::1]:8765", 200),
        ("[::1]", 200),
        ("attacker.example", 403),
        ("attacker.example:8765", 403),
        ("localhost.attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
        ("attacker@127.0.0.1", 403),
        ("192.168.1.2:8765", 403),
        ("[::2]", 403),
        ("[::1", 403),
        ("[::1]x", 403),
        ("::1", 403),
        ("localhost:x", 403),
        ("", 403),
        ("box.local", 403),
    ],
)
async def test_only_names_of_this_machine_are_accepted_as_host(
    engine: ScriptedEngine, name: str, expected: int
) -> None:
    assert await status(engine, {"Host": name}) == expected


async def test_the_name_to_listen_on_is_accepted_as_host(engine: ScriptedEngine) -> None:
    assert await status(engine, {"Host": "Box.local:1"}, host="box.local") == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:1", 200),
        ("https://attacker.example", 403),
        ("null", 403),
        ("file://", 403),
        ("vscode-webview://localhost", 403),
        ("http://localhost.attacker.example", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", None])
async def test_requests_of_foreign_pages_are_refused(
    engine: ScriptedEngine, origin: str, expected: int, host: str | None
) -> None:
    assert await status(engine, {"Origin": origin}, host=host) == expected


async def test_a_page_that_sends_no_origin_is_recognized(engine: ScriptedEngine) -> None:
    assert await status(engine, {"Sec-Fetch-Site": "cross-site"}) == 403
    assert await status(engine, {"Sec-Fetch-Site": "none"}) == 200


async def test_with_a_token_the_token_decides(engine: ScriptedEngine) -> None:
    headers = {"Host": "box.example", "Origin": "https://ide.example"}
    assert await status(engine, headers, token="secret") == 401
    with_token = {**headers, "Authorization": "Bearer secret"}
    assert await status(engine, with_token, token="secret") == 200


async def test_every_route_needs_the_token_and_refuses_foreign_pages(
    engine: ScriptedEngine,
) -> None:
    """Also the routes for plugins of other projects."""
    description = json.loads(describe())
    routes = [(path, method) for path, each in description["paths"].items() for method in each]
    assert {"/infill", "/api/generate", "/v1/fim/completions"} <= {path for path, _ in routes}
    for token, headers, expected in (
        ("secret", {}, 401),
        (None, {"Origin": "https://page.example"}, 403),
        (None, {"Host": "page.example"}, 403),
    ):
        app = create_app(engine, host="127.0.0.1", token=token)
        transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as plain:
            for path, method in routes:
                answer = await plain.request(method, path, headers=headers)
                assert answer.status_code == expected, (path, method, headers)
    assert engine.requests == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER "])
async def test_the_scheme_of_the_token_may_have_any_case(
    engine: ScriptedEngine, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} secret"}
    assert await status(engine, headers, token="secret") == 200


@pytest.mark.parametrize("value", ["Basic secret", "Bearersecret", "Bearer secret x", "Bearer"])
async def test_another_scheme_or_token_is_refused(engine: ScriptedEngine, value: str) -> None:
    assert await status(engine, {"Authorization": value}, token="secret") == 401


async def test_a_client_learns_which_scheme_is_required(engine: ScriptedEngine) -> None:
    async with (
        serving(engine, token="secret") as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as plain,
    ):
        answer = await plain.get("/v1/models")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
@pytest.mark.parametrize("token", ["secret", None])
async def test_only_json_is_read(
    engine: ScriptedEngine, content_type: str, expected: int, token: str | None
) -> None:
    app = create_app(engine, host="127.0.0.1", token=token)
    transport = httpx2.ASGITransport(app=app)
    headers = {"Content-Type": content_type, "Authorization": "Bearer secret"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as plain:
        for path in ("completions", "chat/completions"):
            answer = await plain.post(f"/v1/{path}", content=json.dumps(BODY), headers=headers)
            if path == "completions" or expected == 415:
                assert answer.status_code == expected
        answer = await plain.post("/v1/completions", content=b"{}", headers={})
        assert answer.status_code == (401 if token else 415)


async def test_a_unix_socket_takes_any_host(engine: ScriptedEngine, tmp_path: Path) -> None:
    uds = tmp_path / "s"
    transport = httpx2.AsyncHTTPTransport(uds=str(uds))
    async with (
        serving(engine, uds=uds) as endpoint,
        httpx2.AsyncClient(transport=transport) as plain,
        openai.AsyncOpenAI(
            base_url="http://anything/v1", api_key="none", http_client=plain
        ) as client,
    ):
        answer = await client.completions.create(model="any", prompt="x", max_tokens=100)
        assert answer.choices[0].text == OUTPUT
        ours = HttpEngine(endpoint)
        chunks = [chunk async for chunk in ours.stream(GenerationRequest((9,), 100))]
        assert "".join(chunk.text for chunk in chunks) == OUTPUT
        await ours.aclose()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/health/", 404),
        ("GET", "/v1/completions", 405),
        ("POST", "/health", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/completions", 405),
    ],
)
async def test_unknown_urls_and_methods_get_openais_error(
    engine: ScriptedEngine, method: str, path: str, expected: int
) -> None:
    async with (
        serving(engine) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as plain,
    ):
        answer = await asyncio.wait_for(plain.request(method, path), 5)
    assert answer.status_code == expected
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if expected == 405:
        assert answer.headers["allow"]
