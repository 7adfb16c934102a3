"""An engine reached over HTTP behaves like the engine itself."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from engine.api import (
    Chunk,
    EngineInfo,
    EngineState,
    FinishReason,
    GenerationRequest,
    Memory,
    Priority,
    Sampling,
)
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.client.servers import ours
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
from engine.settings import Device, Dtype, EngineSettings, Listen, parse_argv, to_argv
from engine.tokenizer import Tokenizer
from tests.engine.server.serving import serving, until

OUTPUT = "naïve 🌍 = 1\n\nprint(2)"


def request(engine: ScriptedEngine, prompt: str = "x", **options: Any) -> GenerationRequest:
    return GenerationRequest(tuple(engine.model_tokenizer.encode(prompt)), 100, **options)


async def collect(stream: AsyncGenerator[Chunk, None]) -> list[Chunk]:
    return [chunk async for chunk in stream]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: OUTPUT)


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
        {"memory": Memory("a = ", ("a = b\n", "é<fim_middle>"), is_mixed=False)},
        {"memory": Memory("", ("x",), is_draft=False)},
        {"sampling": Sampling(0.7, 0.9, 40, 1.2, 11), "priority": Priority.CHAT},
    ],
)
async def test_request_and_chunks_are_transferred_without_loss(
    engine: ScriptedEngine, remote: HttpEngine, options: dict[str, Any]
) -> None:
    sent = request(engine, "def f", **options)
    received = await collect(remote.stream(sent))
    assert engine.requests == [sent]
    assert received == await collect(engine.stream(sent))
    assert received[-1].usage is not None


async def test_an_output_of_one_chunk_is_transferred_without_loss(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    engine.script = lambda _: ""
    received = await collect(remote.stream(request(engine)))
    assert [chunk.finish for chunk in received] == [FinishReason.STOP]
    assert received == await collect(engine.stream(request(engine)))
    assert engine.stopped_early == 0


def test_an_older_server_of_ours_does_not_use_passages() -> None:
    fields = dict.fromkeys(("model", "model_type", "device", "dtype"), "")
    older = {**fields, "context_window": 100, "is_demo": False}
    assert not ours.read_info({"starcoder": older}).uses_passages
    assert ours.read_info({"starcoder": {**older, "uses_passages": True}}).uses_passages


async def test_info_health_and_tokenizer_are_transferred_without_loss(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    assert await remote.info() == await engine.info()
    assert await remote.health() == await engine.health()
    tokenizer = await remote.tokenizer()
    assert tokenizer.encode(OUTPUT) == engine.model_tokenizer.encode(OUTPUT)
    assert tokenizer.special_tokens == engine.model_tokenizer.special_tokens


async def test_tcp_requires_the_token(engine: ScriptedEngine) -> None:
    async with serving(engine, token="secret") as endpoint:
        admitted = HttpEngine(endpoint)
        assert "".join([c.text async for c in admitted.stream(request(engine))]) == OUTPUT
        without_token = HttpEngine(Endpoint(f"{endpoint.url}/v1/"))
        with pytest.raises(ConfigurationError, match="engineToken"):
            await without_token.info()
        await admitted.aclose()
        await without_token.aclose()


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
@pytest.mark.parametrize("text_before", ["", "ab"])
async def test_an_error_keeps_its_class(
    engine: ScriptedEngine, remote: HttpEngine, error: type[StarcoderError], text_before: str
) -> None:
    async def stream(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for letter in text_before:
            yield Chunk(letter)
        raise error("Do this.")

    engine.stream = stream  # type: ignore[method-assign]
    with pytest.raises(StarcoderError, match=r"^Do this\.$") as raised:
        await collect(remote.stream(request(engine)))
    assert type(raised.value) is error


async def test_a_prompt_that_does_not_fit_is_refused(
    engine: ScriptedEngine, remote: HttpEngine
) -> None:
    engine.context_window = 4
    with pytest.raises(PromptTooLongError):
        await collect(remote.stream(request(engine, "abcd")))


@pytest.mark.parametrize("transport", ["uds", "tcp"])
async def test_an_absent_engine_is_unavailable(
    engine: ScriptedEngine, tmp_path: Path, transport: str
) -> None:
    uds = tmp_path / "absent" if transport == "uds" else None
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
async def other_server(tmp_path: Path) -> AsyncIterator[Endpoint]:
    """A server that lists a model as OpenAI's API does, and serves nothing else."""

    async def models(_: Any) -> JSONResponse:
        return JSONResponse({"data": [{"id": "other", "max_model_len": 77}]})

    app = Starlette(routes=[Route("/v1/models", models)])
    async with running(app, tmp_path / "f") as endpoint:
        yield endpoint


@asynccontextmanager
async def running(app: Starlette, uds: Path) -> AsyncIterator[Endpoint]:
    """Serve an application from the test's process inside the block."""
    config = uvicorn.Config(app, uds=str(uds), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield Endpoint("http://engine", uds=uds)
    server.should_exit = True
    await task


async def test_another_server_gets_the_forced_prefix_in_the_prompt_if_it_ignores_it(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    """Other servers do not know our fields, and some refuse unknown fields."""
    bodies: list[dict[str, Any]] = []

    async def models(_: Any) -> JSONResponse:
        return JSONResponse({"data": [{"id": "other", "max_model_len": 77}]})

    async def completions(received: Any) -> StreamingResponse:
        bodies.append(await received.json())
        choices = [{"text": "rn 1", "finish_reason": None}, {"text": "", "finish_reason": "stop"}]
        events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
        return StreamingResponse(iter(events), media_type="text/event-stream")

    routes = [Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])]
    (tmp_path / "tokenizer.json").write_text(engine.model_tokenizer.to_json(), encoding="utf-8")
    async with running(Starlette(routes=routes), tmp_path / "f") as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        sent = request(
            engine,
            "x ",
            forced_prefix="retu",
            draft_tokens=(7, 8),
            stop_text=("e",),
            single_line=True,
        )
        chunks = await collect(client.stream(sent))
        await client.aclose()
    assert [chunk.text for chunk in chunks] == ["return 1", ""]
    restricted, free, appended = bodies
    (covering,) = engine.model_tokenizer.encode("u")  # each token of this tokenizer is one byte
    assert restricted["prompt"] == engine.model_tokenizer.encode("x ret")
    assert (restricted["max_tokens"], restricted["logit_bias"]) == (1, {str(covering): 100})
    assert free["prompt"] == engine.model_tokenizer.encode("x ")
    assert appended["prompt"] == engine.model_tokenizer.encode("x retu")
    assert appended["max_tokens"] == 100 - 4
    fields = {"model", "prompt", "max_tokens", "stream", "stream_options", "temperature", "top_p"}
    assert set(free) == fields | {"logprobs", "stop"}
    assert set(appended) == fields | {"stop"}
    # A stop string does not count in the forced prefix, and this server would find it there.
    assert free["stop"] == ["\n"]
    assert appended["stop"] == ["e", "\n"]


async def test_a_server_without_a_tokenizer_needs_the_setting(
    other_server: Endpoint, engine: ScriptedEngine, tmp_path: Path
) -> None:
    client = HttpEngine(other_server)
    info = await client.info()
    assert (info.model, info.context_window) == ("other", 77)
    assert not info.uses_passages
    with pytest.raises(ConfigurationError, match=r"starcoder\.tokenizer"):
        await client.tokenizer()
    (tmp_path / "tokenizer.json").write_text(engine.model_tokenizer.to_json(), encoding="utf-8")
    with_path = HttpEngine(other_server, RemoteModel(tokenizer=tmp_path))
    assert (await with_path.tokenizer()).encode("ab") == engine.model_tokenizer.encode("ab")
    await client.aclose()
    await with_path.aclose()


async def test_a_named_model_is_requested_from_a_server_with_several(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    bodies: list[dict[str, Any]] = []

    async def models(_: Any) -> JSONResponse:
        return JSONResponse({"data": [{"id": "code"}, {"id": "chat", "max_model_len": 99}]})

    async def completions(received: Any) -> StreamingResponse:
        bodies.append(await received.json())
        choice = {"text": "Yes.", "finish_reason": "stop"}
        event = f"data: {json.dumps({'choices': [choice]})}\n\n"
        return StreamingResponse(iter([event]), media_type="text/event-stream")

    routes = [Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])]
    async with running(Starlette(routes=routes), tmp_path / "f") as endpoint:
        (tmp_path / "tokenizer.json").write_text(engine.model_tokenizer.to_json(), encoding="utf-8")
        client = HttpEngine(endpoint, RemoteModel("chat", tmp_path))
        info = await client.info()
        await collect(client.stream(request(engine)))
        without_tokenizer = HttpEngine(endpoint, RemoteModel("chat"))
        with pytest.raises(ConfigurationError, match=r"starcoder\.tokenizer"):
            await without_tokenizer.tokenizer()
        missing = HttpEngine(endpoint, RemoteModel("poet"))
        with pytest.raises(
            ModelNotFoundError, match=r"poet\. Set starcoder\.engineModel .*\(code, chat\)"
        ):
            await missing.info()
        assert (await missing.health()).state is EngineState.FAILED
        names = ("chatModel", "chatTokenizer")
        for_chat = HttpEngine(endpoint, RemoteModel("poet", None, None, *names))
        with pytest.raises(ModelNotFoundError, match=r"Set starcoder\.chatModel to one that"):
            await for_chat.info()
        for each in (client, without_tokenizer, missing, for_chat):
            await each.aclose()
    assert (info.model, info.context_window) == ("chat", 99)
    assert bodies[0]["model"] == "chat"


async def test_an_adapter_of_our_server_is_not_a_model(tmp_path: Path) -> None:
    @dataclass
    class WithAdapter(ScriptedEngine):
        async def info(self) -> EngineInfo:
            return replace(await super().info(), adapters=("chat",))

    async with serving(WithAdapter(lambda _: ""), uds=tmp_path / "s") as endpoint:
        client = HttpEngine(endpoint, RemoteModel("chat"))
        with pytest.raises(ModelNotFoundError, match=r"\(scripted\)"):
            await client.info()
        own = HttpEngine(endpoint, RemoteModel("scripted"))
        assert (await own.info()).adapters == ("chat",)
        for each in (client, own):
            await each.aclose()


class MissingModelEngine(ScriptedEngine):
    """An engine whose model is not on disk."""

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        raise ModelNotFoundError("nosuch is not on this machine.")


async def test_a_missing_model_is_not_reported_as_a_missing_tokenizer(tmp_path: Path) -> None:
    async with serving(MissingModelEngine(lambda _: ""), uds=tmp_path / "s") as endpoint:
        client = HttpEngine(endpoint)
        with pytest.raises(ModelNotFoundError, match="nosuch is not on this machine"):
            await client.tokenizer()
        await client.aclose()


SETTINGS = st.builds(
    EngineSettings,
    model=st.text(),
    revision=st.none() | st.text(),
    dtype=st.sampled_from(get_args(Dtype)),
    device=st.sampled_from(get_args(Device)),
    context_window=st.none() | st.integers(),
    offline=st.booleans(),
    idle_timeout_s=st.floats(allow_nan=False),
    reserve_for=st.none() | st.text(),
)
PATHS = st.text(min_size=1).map(Path)
LISTEN = st.builds(Listen, uds=PATHS) | st.builds(
    Listen, host=st.text(), port=st.integers(0, 65535), endpoint_file=st.none() | PATHS
)


@given(settings=SETTINGS, listen=LISTEN)
@example(settings=EngineSettings(model="--"), listen=Listen(uds=Path("--")))
def test_arguments_are_parsed_back(settings: EngineSettings, listen: Listen) -> None:
    assert parse_argv(to_argv(settings, listen)) == (settings, listen, None, None)


def test_a_token_is_never_an_argument() -> None:
    assert "secret" not in " ".join(to_argv(EngineSettings(), Listen(token="secret")))
