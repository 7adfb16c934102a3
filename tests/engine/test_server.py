"""The engine's HTTP interface, asked by OpenAI's own client."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import uvicorn

from chat.rendering import render
from engine.api import Priority, ScoringEngine
from engine.client.endpoint import Endpoint
from engine.scripted import ScriptedEngine, byte_tokenizer
from engine.server.app import create_app
from engine.server.chat import RenderChat
from engine.tokenizer import Tokenizer

ANSWER = "return a + b\n\nprint(1)"
LONG = "x" * 2000


@asynccontextmanager
async def serving(
    engine: ScoringEngine,
    *,
    uds: Path | None = None,
    token: str | None = None,
    render_chat: RenderChat | None = render,
) -> AsyncIterator[Endpoint]:
    """Serve an engine from this process while the block runs."""
    if uds is None:
        bound = socket.create_server(("127.0.0.1", 0))
        endpoint = Endpoint(f"http://127.0.0.1:{bound.getsockname()[1]}", token=token)
    else:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(uds))
        endpoint = Endpoint("http://engine", uds=uds, token=token)
    app = create_app(engine, render_chat=render_chat, token=token)
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    await until(lambda: server.started)
    try:
        yield endpoint
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def asking(engine: ScoringEngine, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client in front of a served engine."""
    async with (
        serving(engine, **options) as endpoint,
        openai.AsyncOpenAI(
            base_url=f"{endpoint.url}/v1", api_key=endpoint.token or "none", max_retries=0
        ) as client,
    ):
        yield client


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: ANSWER)


@pytest.fixture
def slow() -> ScriptedEngine:
    return ScriptedEngine(lambda _: LONG, seconds_per_token=0.01)


@pytest.fixture
async def client(engine: ScriptedEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with asking(engine) as asked:
        yield asked


def ids(text: str) -> list[int]:
    return byte_tokenizer().encode(text)


async def post(client: openai.AsyncOpenAI, path: str, body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
        return await plain.post(path, json=body)


class TestCompletions:
    async def test_a_text_prompt_is_answered(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        answer = await client.completions.create(model="any", prompt="def f", max_tokens=100)
        assert answer.object == "text_completion"
        assert answer.model == "scripted"
        assert [choice.text for choice in answer.choices] == [ANSWER]
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 5
        assert answer.usage.completion_tokens == len(ANSWER)
        assert answer.usage.total_tokens == 5 + len(ANSWER)
        assert list(engine.requests[0].prompt) == ids("def f")
        assert engine.requests[0].priority == Priority.COMPLETION

    async def test_a_prompt_of_ids_is_taken_as_it_is(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        prompt = [1, *ids("a"), 3, *ids("b"), 2]
        await client.completions.create(model="any", prompt=prompt)
        assert list(engine.requests[0].prompt) == prompt

    async def test_openais_defaults_hold(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        answer = await client.completions.create(model="any", prompt="x")
        assert engine.requests[0].max_new_tokens == 16
        assert engine.requests[0].sampling.temperature == 1.0
        assert engine.requests[0].logprobs is None
        assert answer.choices[0].finish_reason == "length"
        assert answer.choices[0].text == ANSWER[:16]

    async def test_null_means_the_default(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        nullable = (
            "echo", "logprobs", "max_tokens", "n", "seed", "stop", "stream", "stream_options",
            "temperature", "top_p",
        )  # fmt: skip
        body = {"prompt": "x"} | dict.fromkeys(nullable)
        answer = await post(client, "completions", body)
        assert answer.status_code == 200, answer.text
        assert engine.requests[0].max_new_tokens == 16
        assert engine.requests[0].sampling.temperature == 1.0

    async def test_sampling_reaches_the_engine(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        await client.completions.create(
            model="any", prompt="x", temperature=0.5, top_p=0.9, seed=7,
            extra_body={"top_k": 40, "repetition_penalty": 1.1, "priority": 9},
        )  # fmt: skip
        sampling = engine.requests[0].sampling
        assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.9, 7)
        assert (sampling.top_k, sampling.repetition_penalty) == (40, 1.1)
        assert engine.requests[0].priority == Priority.PREFETCH

    @pytest.mark.parametrize("stop", ["\n\n", ["nowhere", "\n\n"]])
    async def test_stop_text_ends_the_answer_and_is_not_in_it(
        self, client: openai.AsyncOpenAI, stop: str | list[str]
    ) -> None:
        answer = await client.completions.create(model="any", prompt="x", max_tokens=100, stop=stop)
        assert answer.choices[0].text == "return a + b"
        assert answer.choices[0].finish_reason == "stop"

    async def test_a_stop_id_ends_the_answer_and_is_not_in_it(
        self, client: openai.AsyncOpenAI
    ) -> None:
        answer = await client.completions.create(
            model="any", prompt="x", max_tokens=100,
            extra_body={"stop_token_ids": ids("\n"), "return_token_ids": True},
        )  # fmt: skip
        assert answer.choices[0].text == "return a + b"
        assert answer.choices[0].model_dump()["token_ids"] == ids("return a + b")

    async def test_a_stream_is_the_same_answer_in_pieces(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.completions.create(
            model="any", prompt="x", max_tokens=100, stream=True,
            stream_options={"include_usage": True}, extra_body={"return_token_ids": True},
        )  # fmt: skip
        parts = [part async for part in stream]
        *told, usage = parts
        assert "".join(part.choices[0].text for part in told) == ANSWER
        assert len(told) > 10
        assert [part.choices[0].finish_reason for part in told[:-1]] == [None] * (len(told) - 1)
        assert told[-1].choices[0].finish_reason == "stop"
        pieces = [part.choices[0].model_dump()["token_ids"] for part in told]
        assert [id_ for piece in pieces for id_ in piece] == ids(ANSWER)
        assert usage.choices == []
        assert usage.usage is not None
        assert usage.usage.completion_tokens == len(ANSWER)
        assert len({part.id for part in parts}) == 1

    async def test_a_stream_tells_its_usage_only_when_asked(
        self, client: openai.AsyncOpenAI
    ) -> None:
        stream = await client.completions.create(model="any", prompt="x", stream=True)
        assert all([part.usage is None and part.choices async for part in stream])

    async def test_a_list_of_prompts_gives_a_list_of_choices(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        engine.script = lambda request: engine.held.decode(request.prompt).upper()
        of_text = await client.completions.create(model="any", prompt=["one", "three"])
        of_ids = await client.completions.create(model="any", prompt=[ids("one"), ids("three")])
        for answer in (of_text, of_ids):
            assert [choice.text for choice in answer.choices] == ["ONE", "THREE"]
            assert [choice.index for choice in answer.choices] == [0, 1]
            assert answer.usage is not None
            assert answer.usage.prompt_tokens == answer.usage.completion_tokens == 8

    @pytest.mark.parametrize("stream", [False, True])
    async def test_names_of_special_tokens_are_text_unless_asked_otherwise(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine, stream: bool
    ) -> None:
        prompt = "<fim_prefix>a"
        await client.completions.create(model="any", prompt=prompt, stream=stream)
        await client.completions.create(
            model="any", prompt=prompt, stream=stream, extra_body={"parse_special": True}
        )
        as_text, as_special = (list(request.prompt) for request in engine.requests)
        assert as_text == ids(prompt)
        assert len(as_text) == len(prompt)
        assert as_special == [1, *ids("a")]
        assert engine.held.special_id("<fim_prefix>") == 1


class TestLogprobs:
    async def test_each_token_has_one(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(model="any", prompt="x", max_tokens=3, logprobs=2)
        told = answer.choices[0].logprobs
        assert told is not None
        assert told.tokens == ["r", "e", "t"]
        assert told.token_logprobs == [-0.01] * 3
        assert told.text_offset == [0, 1, 2]

    async def test_a_stream_has_them_too(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.completions.create(
            model="any", prompt="x", max_tokens=3, logprobs=0, stream=True
        )
        told = [p.choices[0].logprobs async for p in stream if p.choices[0].logprobs]
        assert [token for part in told for token in part.tokens or ()] == ["r", "e", "t"]
        assert [at for part in told for at in part.text_offset or ()] == [0, 1, 2]

    @pytest.mark.parametrize("prompt", ["abc", ids("abc")])
    async def test_a_text_is_scored_without_writing_on(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine, prompt: Any
    ) -> None:
        answer = await client.completions.create(
            model="any", prompt=prompt, max_tokens=0, echo=True, logprobs=1
        )
        choice = answer.choices[0]
        assert choice.text == "abc"
        assert choice.logprobs is not None
        assert choice.logprobs.tokens == ["a", "b", "c"]
        assert choice.logprobs.token_logprobs == [None, -0.5, -0.5]
        assert engine.tokens_written == 0

    async def test_prompt_and_answer_are_scored_together(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(
            model="any", prompt="abc", max_tokens=2, echo=True, logprobs=1
        )
        choice = answer.choices[0]
        assert choice.text == "abcre"
        assert choice.logprobs is not None
        assert choice.logprobs.tokens == ["a", "b", "c", "r", "e"]
        assert choice.logprobs.token_logprobs == [None, -0.5, -0.5, -0.01, -0.01]
        assert choice.logprobs.text_offset == [0, 1, 2, 3, 4]

    async def test_echo_alone_repeats_the_prompt(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(model="any", prompt="abc", max_tokens=2, echo=True)
        assert answer.choices[0].text == "abcre"
        assert answer.choices[0].logprobs is None


class TestChat:
    async def test_a_dialogue_is_answered(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        engine.script = lambda _: "\nUse a loop.\nHuman: and then"
        answer = await client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "How?"}]
        )
        assert answer.object == "chat.completion"
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].message.content == "Use a loop."
        assert answer.choices[0].finish_reason == "stop"
        request = engine.requests[0]
        assert engine.held.decode(request.prompt).endswith("Human: How?\n\nAssistant:")
        assert request.priority == Priority.CHAT

    async def test_a_stream_is_the_same_answer_in_pieces(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        engine.script = lambda _: "\n Use a loop."
        stream = await client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "How?"}], stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        *told, usage = [part async for part in stream]
        deltas = [part.choices[0].delta for part in told]
        assert deltas[0].role == "assistant"
        assert "".join(delta.content or "" for delta in deltas) == "Use a loop."
        assert told[-1].choices[0].finish_reason == "stop"
        assert usage.choices == []
        assert usage.usage is not None
        assert usage.usage.completion_tokens == len("\n Use a loop.")

    async def test_logprobs_come_in_the_chat_form(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "How?"}], max_tokens=3, logprobs=True
        )
        told = answer.choices[0].logprobs
        assert told is not None
        assert told.content is not None
        assert [(entry.token, entry.logprob) for entry in told.content] == [
            ("r", -0.01), ("e", -0.01), ("t", -0.01),
        ]  # fmt: skip

    async def test_a_dialogue_that_cannot_be_answered_is_refused(
        self, client: openai.AsyncOpenAI
    ) -> None:
        with pytest.raises(openai.BadRequestError, match="last message"):
            await client.chat.completions.create(
                model="any", messages=[{"role": "assistant", "content": "Hello."}]
            )

    async def test_without_a_renderer_there_is_no_chat(self, engine: ScriptedEngine) -> None:
        async with asking(engine, render_chat=None) as client:
            with pytest.raises(openai.BadRequestError, match="renderer"):
                await client.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": "How?"}]
                )


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "body", "named"),
        [
            ("completions", {}, "prompt"),
            ("completions", {"prompt": {"a": 1}}, "prompt"),
            ("completions", {"prompt": "x", "max_tokens": "many"}, "max_tokens"),
            ("completions", {"prompt": "x", "max_tokens": -1}, "max_tokens"),
            ("completions", {"prompt": "x", "temperature": -1}, "temperature"),
            ("completions", {"prompt": "x", "n": 2}, "n"),
            ("completions", {"prompt": "x", "logprobs": 1000}, "logprobs"),
            ("completions", {"prompt": "x", "max_tokens": 0}, "max_tokens"),
            ("completions", {"prompt": ["x", "y"], "stream": True}, "one prompt"),
            ("completions", {"prompt": "x", "echo": True, "stream": True}, "echo"),
            ("completions", {"prompt": []}, "prompt"),
            ("chat/completions", {"messages": "Hello"}, "messages"),
            ("chat/completions", {"messages": [{"role": "user"}]}, "content"),
        ],
    )
    async def test_what_cannot_be_used_is_named(
        self, client: openai.AsyncOpenAI, path: str, body: Any, named: str
    ) -> None:
        answer = await post(client, path, body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert named in error["message"]

    async def test_a_body_that_is_not_json(self, client: openai.AsyncOpenAI) -> None:
        async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
            answer = await plain.post("completions", content=b"{")
        assert answer.status_code == 400
        assert "not valid JSON" in answer.json()["error"]["message"]

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_prompt_that_does_not_fit(self, stream: bool) -> None:
        async with asking(ScriptedEngine(lambda _: ANSWER, context_window=8)) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.completions.create(model="any", prompt="x" * 8, stream=stream)
        assert refused.value.type == "prompt_too_long"

    async def test_the_servers_own_faults_hide_their_words(self) -> None:
        def fail(_: Any) -> str:
            raise ValueError("the user's code")

        async with asking(ScriptedEngine(fail)) as client:
            with pytest.raises(openai.InternalServerError) as failed:
                await client.completions.create(model="any", prompt="x")
        assert failed.value.type == "internal_error"
        assert "the user's code" not in str(failed.value)


class TestToken:
    async def test_who_shows_it_is_answered(self, engine: ScriptedEngine) -> None:
        async with asking(engine, token="secret") as client:
            assert (await client.completions.create(model="any", prompt="x")).choices

    @pytest.mark.parametrize("shown", [None, "Bearer wrong", "secret", "Bearer secrét"])
    async def test_who_does_not_is_refused(self, engine: ScriptedEngine, shown: str | None) -> None:
        headers = {} if shown is None else {"Authorization": shown.encode()}
        async with (
            serving(engine, token="secret") as endpoint,
            httpx2.AsyncClient(base_url=endpoint.url, headers=headers) as plain,
        ):
            for path in ("/v1/models", "/health", "/tokenizer.json", "/nothing"):
                answer = await plain.get(path)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"

    async def test_openais_client_knows_the_refusal(self, engine: ScriptedEngine) -> None:
        async with (
            serving(engine, token="secret") as endpoint,
            openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="wrong") as client,
        ):
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        assert engine.requests == []


class TestDisconnecting:
    """Who closes the connection stops the decoding, within a token or two."""

    async def test_closing_a_stream(self, slow: ScriptedEngine) -> None:
        async with asking(slow) as client:
            stream = await client.completions.create(
                model="any", prompt="x", max_tokens=2000, stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            await until(lambda: slow.stopped_early == 1)
        assert slow.tokens_written < 100

    async def test_closing_a_chat(self, slow: ScriptedEngine) -> None:
        async with asking(slow) as client:
            stream = await client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "How?"}], stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            await until(lambda: slow.stopped_early == 1)
        assert slow.tokens_written < 100

    @pytest.mark.parametrize("kind", ["completion", "chat"])
    async def test_giving_up_on_a_whole_answer(self, slow: ScriptedEngine, kind: str) -> None:
        async with asking(slow) as client:
            if kind == "chat":
                asked: Any = client.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": "How?"}], max_tokens=2000
                )
            else:
                asked = client.completions.create(model="any", prompt="x", max_tokens=2000)
            waiting = asyncio.create_task(asked)
            await until(lambda: slow.tokens_written > 2)
            waiting.cancel()
            await until(lambda: slow.stopped_early == 1)
        assert slow.tokens_written < 100

    async def test_giving_up_before_the_first_token(self) -> None:
        stuck = ScriptedEngine(lambda _: LONG, seconds_per_token=60)
        async with asking(stuck) as client:
            asked = client.completions.create(model="any", prompt="x", stream=True)
            waiting = asyncio.create_task(asked)
            await until(lambda: len(stuck.requests) == 1)
            waiting.cancel()
            await until(lambda: stuck.stopped_early == 1)
        assert stuck.tokens_written == 0

    async def test_the_next_request_is_answered(self, slow: ScriptedEngine) -> None:
        async with asking(slow) as client:
            stream = await client.completions.create(
                model="any", prompt="x", max_tokens=2000, stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            answer = await client.completions.create(model="any", prompt="x", max_tokens=1)
        assert answer.choices[0].text == "x"


async def test_the_model_is_listed(client: openai.AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == ["scripted"]
    assert listed[0].model_dump()["max_model_len"] == 100_000


async def test_the_tokenizer_comes_through_whole(engine: ScriptedEngine, tmp_path: Path) -> None:
    uds = tmp_path / "s"
    transport = httpx2.AsyncHTTPTransport(uds=str(uds))
    async with (
        serving(engine, uds=uds),
        httpx2.AsyncClient(transport=transport, base_url="http://engine") as plain,
    ):
        answer = await plain.get("/tokenizer.json")
    fetched = Tokenizer.from_json(answer.text)
    text = "def naïve():\n\treturn '<fim_prefix> 🌍'"
    assert fetched.encode(text) == engine.held.encode(text)
    assert fetched.decode(fetched.encode(text)) == text
    assert fetched.special_tokens == engine.held.special_tokens
