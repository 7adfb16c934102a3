"""An engine behind HTTP behaves as the engine itself."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from engine.api import Chunk, EngineState, FinishReason, GenerationRequest, Priority, Sampling
from engine.arguments import Listen, parse, to_argv
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.errors import (
    ConfigurationError,
    EngineUnavailableError,
    ModelAccessError,
    ModelNotFoundError,
    OutOfMemoryError,
    PromptTooLongError,
    RequestError,
    StarcoderError,
    UnsupportedModelError,
)
from engine.scripted import ScriptedEngine
from engine.settings import Device, Dtype, EngineSettings
from tests.engine.server.serving import serving, until

ANSWER = "naïve 🌍 = 1\n\nprint(2)"


def request(engine: ScriptedEngine, prompt: str = "x", **options: Any) -> GenerationRequest:
    return GenerationRequest(tuple(engine.model_tokenizer.encode(prompt)), 100, **options)


async def collect(stream: AsyncGenerator[Chunk, None]) -> list[Chunk]:
    return [chunk async for chunk in stream]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: ANSWER)


@pytest.fixture
async def remote(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[HttpEngine]:
    async with serving(engine, uds=tmp_path / "s") as endpoint:
        client = HttpEngine(endpoint)
        yield client
        await client.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"logprobs": 0},
        {"logprobs": 3},
        {"stop_text": ("\n\n",)},
        {"stop_ids": frozenset({3})},
        {
            "draft_tokens": (9, 8, 7),
            "forced_prefix": "é naï",
            "single_line": True,
            "continue_line_after": (":", "do"),
        },
        {"single_line": True},
        {"sampling": Sampling(0.7, 0.9, 40, 1.2, 11), "priority": Priority.CHAT},
    ],
)
async def test_chunks_and_request_come_through_whole(
    engine: ScriptedEngine, remote: HttpEngine, options: dict[str, Any]
) -> None:
    asked = request(engine, "def f", **options)
    told = await collect(remote.stream(asked))
    assert engine.requests == [asked]
    assert told == await collect(engine.stream(asked))
    assert told[-1].usage is not None


async def test_an_answer_of_one_chunk_comes_through_whole(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    engine.script = lambda _: ""
    told = await collect(remote.stream(request(engine)))
    assert [chunk.finish for chunk in told] == [FinishReason.STOP]
    assert told == await collect(engine.stream(request(engine)))
    assert engine.stopped_early == 0


async def test_what_it_holds_comes_through_whole(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    assert await remote.info() == await engine.info()
    assert await remote.health() == await engine.health()
    held = await remote.tokenizer()
    assert held.encode(ANSWER) == engine.model_tokenizer.encode(ANSWER)
    assert held.special_tokens == engine.model_tokenizer.special_tokens


async def test_over_tcp_with_a_token(engine: ScriptedEngine) -> None:
    async with serving(engine, token="secret") as endpoint:
        admitted = HttpEngine(endpoint)
        assert "".join([c.text async for c in admitted.stream(request(engine))]) == ANSWER
        stranger = HttpEngine(Endpoint(f"{endpoint.url}/v1/"))
        with pytest.raises(ConfigurationError, match="engineToken"):
            await stranger.info()
        assert (await stranger.health()).state is EngineState.FAILED
        await admitted.aclose()
        await stranger.aclose()


async def test_closing_a_stream_stops_the_decoding(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    engine.script, engine.seconds_per_token = lambda _: "x" * 100, 0.02
    stream = remote.stream(request(engine))
    await anext(stream)
    await stream.aclose()
    await until(lambda: engine.stopped_early == 1)
    assert engine.tokens_written < 50


async def test_cancelling_a_task_stops_the_decoding(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    engine.script, engine.seconds_per_token = lambda _: "x" * 100, 0.02
    task = asyncio.create_task(collect(remote.stream(request(engine))))
    await until(lambda: engine.tokens_written > 1)
    task.cancel()
    await until(lambda: engine.stopped_early == 1)
    assert engine.tokens_written < 50


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError,
        ModelAccessError,
        ModelNotFoundError,
        OutOfMemoryError,
        PromptTooLongError,
        RequestError,
        UnsupportedModelError,
    ],
)
@pytest.mark.parametrize("answered", ["", "ab"])
async def test_an_error_comes_back_as_its_class(
    engine: ScriptedEngine, remote: HttpEngine, error: type[StarcoderError], answered: str
) -> None:
    async def stream(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for letter in answered:
            yield Chunk(letter)
        raise error("Do this.")

    engine.stream = stream  # type: ignore[method-assign]
    with pytest.raises(StarcoderError, match=r"^Do this\.$") as told:
        await collect(remote.stream(request(engine)))
    assert type(told.value) is error


async def test_a_prompt_that_does_not_fit(engine: ScriptedEngine, remote: HttpEngine) -> None:
    engine.context_window = 4
    with pytest.raises(PromptTooLongError):
        await collect(remote.stream(request(engine, "abcd")))


@pytest.mark.parametrize("over", ["uds", "tcp"])
async def test_nobody_there(engine: ScriptedEngine, tmp_path: Path, over: str) -> None:
    uds = tmp_path / "nobody" if over == "uds" else None
    client = HttpEngine(Endpoint("http://127.0.0.1:1", uds=uds))
    with pytest.raises(EngineUnavailableError, match="No engine answers"):
        await client.info()
    with pytest.raises(EngineUnavailableError):
        await client.tokenizer()
    with pytest.raises(EngineUnavailableError):
        await collect(client.stream(request(engine)))
    assert (await client.health()).state is EngineState.FAILED
    await client.aclose()


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Endpoint]:
    """A server that lists a model as OpenAI does, and has nothing else."""

    async def models(_: Any) -> JSONResponse:
        return JSONResponse({"data": [{"id": "other", "max_model_len": 77}]})

    app = Starlette(routes=[Route("/v1/models", models)])
    async with running(app, tmp_path / "f") as endpoint:
        yield endpoint


@asynccontextmanager
async def running(app: Starlette, uds: Path) -> AsyncIterator[Endpoint]:
    """Serve an application from this process while the block runs."""
    config = uvicorn.Config(app, uds=str(uds), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield Endpoint("http://engine", uds=uds)
    server.should_exit = True
    await task


async def test_a_foreign_server_gets_the_beginning_as_a_prompt(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    """It knows neither `begin` nor `draft`, and some refuse what they do not know."""
    bodies: list[dict[str, Any]] = []

    async def models(_: Any) -> JSONResponse:
        return JSONResponse({"data": [{"id": "other", "max_model_len": 77}]})

    async def completions(asked: Any) -> StreamingResponse:
        bodies.append(await asked.json())
        choices = [{"text": "rn 1", "finish_reason": None}, {"text": "", "finish_reason": "stop"}]
        events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
        return StreamingResponse(iter(events), media_type="text/event-stream")

    routes = [Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])]
    (tmp_path / "tokenizer.json").write_text(engine.model_tokenizer.to_json(), encoding="utf-8")
    async with running(Starlette(routes=routes), tmp_path / "f") as endpoint:
        client = HttpEngine(endpoint, tokenizer_path=tmp_path)
        asked = request(
            engine,
            "x ",
            forced_prefix="retu",
            draft_tokens=(7, 8),
            stop_text=("e",),
            single_line=True,
        )
        told = await collect(client.stream(asked))
        await client.aclose()
    assert [chunk.text for chunk in told] == ["return 1", ""]
    assert bodies[0]["prompt"] == engine.model_tokenizer.encode("x retu")
    assert bodies[0]["max_tokens"] == 100 - 4
    assert not {"forced_prefix", "draft_tokens", "single_line", "continue_line_after"} & set(
        bodies[0]
    )
    assert bodies[0]["stop"] == ["e", "\n"]


async def test_a_server_without_a_tokenizer(
    foreign: Endpoint, engine: ScriptedEngine, tmp_path: Path
) -> None:
    client = HttpEngine(foreign)
    info = await client.info()
    assert (info.model, info.context_window) == ("other", 77)
    with pytest.raises(ConfigurationError, match=r"starcoder\.tokenizer"):
        await client.tokenizer()
    (tmp_path / "tokenizer.json").write_text(engine.model_tokenizer.to_json(), encoding="utf-8")
    told = HttpEngine(foreign, tokenizer_path=tmp_path)
    assert (await told.tokenizer()).encode("ab") == engine.model_tokenizer.encode("ab")
    await client.aclose()
    await told.aclose()


SETTINGS = st.builds(
    EngineSettings,
    model=st.text(),
    revision=st.none() | st.text(),
    dtype=st.sampled_from(get_args(Dtype)),
    device=st.sampled_from(get_args(Device)),
    context_window=st.none() | st.integers(),
    offline=st.booleans(),
    idle_timeout_s=st.floats(allow_nan=False),
)
PATHS = st.text(min_size=1).map(Path)
LISTEN = st.builds(Listen, uds=PATHS) | st.builds(
    Listen, host=st.text(), port=st.integers(0, 65535), endpoint_file=st.none() | PATHS
)


@given(settings=SETTINGS, listen=LISTEN)
def test_arguments_are_read_back(settings: EngineSettings, listen: Listen) -> None:
    assert parse(to_argv(settings, listen)) == (settings, listen, None)


def test_a_token_is_never_an_argument() -> None:
    assert "secret" not in " ".join(to_argv(EngineSettings(), Listen(token="secret")))
