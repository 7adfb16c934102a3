"""The engine's HTTP interface, asked by the official OpenAI client and by our own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
import uvicorn

from chat.rendering import render
from engine.api import FinishReason, GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.errors import ConfigurationError, EngineUnavailableError, PromptTooLongError
from engine.scripted import ScriptedEngine
from engine.server.app import create_app


@asynccontextmanager
async def serving(engine: Any, token: str | None = None) -> AsyncIterator[str]:
    """Serve an engine on loopback; yields the address."""
    app = create_app(engine, render_chat=render, token=token)
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def client_of(engine: Any, token: str | None = None) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serving(engine, token) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=token or "none", max_retries=0) as client,
    ):
        yield client


def says(text: str, seconds_per_token: float = 0.0) -> ScriptedEngine:
    return ScriptedEngine(lambda _: text, seconds_per_token)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_completion_of_text_and_of_ids() -> None:
    engine = says("é = 1 🎉")
    async with client_of(engine) as client:
        for prompt in ("def f", engine.held.encode("def f")):
            answer = await client.completions.create(model="any", prompt=prompt, max_tokens=99)
            assert answer.choices[0].text == "é = 1 🎉"
            assert answer.choices[0].finish_reason == "stop"
            assert answer.usage is not None
            assert answer.usage.prompt_tokens == 5
    assert engine.requests[0].prompt == engine.requests[1].prompt


async def test_a_text_prompt_is_text_unless_asked_otherwise() -> None:
    engine = says("x")
    async with client_of(engine) as client:
        await client.completions.create(model="any", prompt="<fim_prefix>a")
        await client.completions.create(
            model="any", prompt="<fim_prefix>a", extra_body={"parse_special": True}
        )
    special = engine.held.special_id("<fim_prefix>")
    assert special not in engine.requests[0].prompt
    assert engine.requests[1].prompt[0] == special


async def test_a_stream_is_the_same_text() -> None:
    async with client_of(says("one two 🎉 three")) as client:
        stream = await client.completions.create(
            model="any", prompt="x", stream=True, max_tokens=99,
            stream_options={"include_usage": True},
        )  # fmt: skip
        parts = [part async for part in stream]
    assert "".join(c.text for part in parts for c in part.choices) == "one two 🎉 three"
    reasons = [c.finish_reason for part in parts for c in part.choices]
    assert reasons[-1] == "stop"
    assert set(reasons[:-1]) == {None}
    assert parts[-1].usage is not None


async def test_stop_and_limits() -> None:
    async with client_of(says("abcdef")) as client:
        stopped = await client.completions.create(model="any", prompt="x", stop=["de"])
        assert (stopped.choices[0].text, stopped.choices[0].finish_reason) == ("abc", "stop")
        short = await client.completions.create(model="any", prompt="x", max_tokens=2)
        assert (short.choices[0].text, short.choices[0].finish_reason) == ("ab", "length")


async def test_several_prompts_give_several_choices() -> None:
    async with client_of(ScriptedEngine(lambda r: str(len(r.prompt)))) as client:
        answer = await client.completions.create(model="any", prompt=["a", "bcd"])
    assert [(c.index, c.text) for c in answer.choices] == [(0, "1"), (1, "3")]


async def test_echo_with_logprobs_scores_the_prompt_too() -> None:
    async with client_of(says("yz")) as client:
        whole = await client.completions.create(
            model="any", prompt="abc", echo=True, logprobs=1, max_tokens=5
        )
        scored = await client.completions.create(
            model="any", prompt="abc", echo=True, logprobs=1, max_tokens=0
        )
    assert whole.choices[0].text == "abcyz"
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == list("abcyz")
    assert logprobs.token_logprobs == [None, -0.5, -0.5, -0.1, -0.1]
    assert logprobs.text_offset == [0, 1, 2, 3, 4]
    assert scored.choices[0].text == "abc"


async def test_chat_whole_and_streamed() -> None:
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    engine = says("\nHello there")
    async with client_of(engine) as client:
        whole = await client.chat.completions.create(model="any", messages=messages)
        stream = await client.chat.completions.create(model="any", messages=messages, stream=True)
        parts = [part async for part in stream]
    assert whole.choices[0].message.content == "Hello there"
    assert "".join(p.choices[0].delta.content or "" for p in parts) == "Hello there"
    assert parts[0].choices[0].delta.role == "assistant"
    assert "Human: Hi" in engine.held.decode(engine.requests[0].prompt)


async def test_the_model_is_listed_with_what_is_known_of_it() -> None:
    async with client_of(says("x")) as client:
        (model,) = (await client.models.list()).data
    assert model.id == "scripted"
    assert model.model_dump()["starcoder"]["context_window"] == 100_000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x", "temperature": "hot"}, "temperature"),
        ({"prompt": "x", "n": 3}, "n"),
        ({}, "prompt"),
    ],
)
async def test_a_wrong_field_is_named(body: dict[str, Any], field: str) -> None:
    async with serving(says("x")) as url, httpx2.AsyncClient() as http:
        answer = await http.post(f"{url}/v1/completions", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_what_is_no_json_is_refused() -> None:
    async with serving(says("x")) as url, httpx2.AsyncClient() as http:
        answer = await http.post(f"{url}/v1/completions", content=b"{")
    assert answer.status_code == 400


async def test_without_the_token_nobody_gets_in() -> None:
    async with serving(says("x"), token="secret") as url, httpx2.AsyncClient() as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await http.get(f"{url}/health", headers=headers)).status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert (await http.get(f"{url}/health", headers=good)).status_code == 200
    async with client_of(says("fine"), token="secret") as client:
        assert (await client.completions.create(model="any", prompt="x")).choices[0].text == "fine"


@pytest.mark.parametrize("stream", [True, False])
async def test_closing_the_connection_stops_the_decoding(stream: bool) -> None:
    engine = says("x" * 1000, 0.01)
    body = {"prompt": "a", "max_tokens": 1000, "stream": stream}
    async with serving(engine) as url:
        async with httpx2.AsyncClient() as http:
            asked = asyncio.create_task(_read(http, f"{url}/v1/completions", body))
            await until(lambda: engine.tokens_written > 3)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: engine.stopped_early == 1)
        written = engine.tokens_written
        await asyncio.sleep(0.1)
        assert engine.tokens_written == written < 500


async def _read(http: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> None:
    async with http.stream("POST", url, json=body) as answer:
        async for _ in answer.aiter_bytes():
            pass


# Our own client.


async def test_our_client_gives_back_the_engines_own_chunks() -> None:
    engine = says("a🎉b")
    async with serving(engine) as url:
        remote = HttpEngine(Endpoint(url))
        ids = tuple((await remote.tokenizer()).encode("def"))
        request = GenerationRequest(ids, 99, frozenset({4}), ("zz",), logprobs=0)
        chunks = [chunk async for chunk in remote.stream(request)]
        assert (await remote.info()) == await engine.info()
        await remote.aclose()
    direct = [chunk async for chunk in engine.stream(request)]
    assert chunks == direct
    assert engine.requests[0] == engine.requests[1] == request


async def test_closing_our_stream_stops_the_engine() -> None:
    engine = says("x" * 1000, 0.01)
    async with serving(engine) as url:
        remote = HttpEngine(Endpoint(url))
        stream = remote.stream(GenerationRequest((5,), 1000))
        assert (await anext(stream)).text == "x"
        await stream.aclose()
        await until(lambda: engine.stopped_early == 1)
        await remote.aclose()


async def test_errors_come_back_as_what_they_are() -> None:
    class Refuses(ScriptedEngine):
        async def stream(self, request: GenerationRequest) -> Any:
            raise PromptTooLongError("far too long")
            yield

    async with serving(Refuses(lambda _: "")) as url:
        remote = HttpEngine(Endpoint(url))
        with pytest.raises(PromptTooLongError, match="far too long"):
            await anext(remote.stream(GenerationRequest((5,), 10)))
        await remote.aclose()


async def test_nobody_there_is_told() -> None:
    remote = HttpEngine(Endpoint("http://127.0.0.1:9"))
    with pytest.raises(EngineUnavailableError, match="No engine answers"):
        await remote.info()
    await remote.aclose()


async def test_a_server_without_a_tokenizer_asks_for_one() -> None:
    async with serving(says("x")) as url:
        remote = HttpEngine(Endpoint(f"{url}/elsewhere"))
        with pytest.raises(ConfigurationError, match=r"starcoder\.tokenizer"):
            await remote.tokenizer()
        await remote.aclose()


async def test_the_last_chunk_has_reason_and_usage() -> None:
    async with serving(says("ab")) as url:
        remote = HttpEngine(Endpoint(url))
        chunks = [c async for c in remote.stream(GenerationRequest((5, 6, 7), 1))]
        await remote.aclose()
    assert chunks[-1].finish is FinishReason.LENGTH
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 3
