"""What the engine's HTTP interface refuses, and how."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from engine.scripted import ScriptedEngine
from tests.engine.server.serving import ANSWER, asking, post, serving


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: ANSWER)


@pytest.fixture
async def client(engine: ScriptedEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with asking(engine) as asked:
        yield asked


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
