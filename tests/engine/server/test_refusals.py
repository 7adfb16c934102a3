"""Requests that the engine's HTTP interface refuses, and the errors that it returns."""

from typing import Any

import httpx2
import openai
import pytest

from engine.scripted import ScriptedEngine
from tests.engine.server.serving import OUTPUT, connected_client, post, serving


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "body", "expected"),
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
    async def test_an_invalid_field_is_named(
        self, client: openai.AsyncOpenAI, path: str, body: Any, expected: str
    ) -> None:
        answer = await post(client, path, body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert expected in error["message"]

    async def test_a_body_that_is_not_json_is_refused(self, client: openai.AsyncOpenAI) -> None:
        async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
            answer = await plain.post(
                "completions", content=b"{", headers={"Content-Type": "application/json"}
            )
        assert answer.status_code == 400
        assert "not valid JSON" in answer.json()["error"]["message"]

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_prompt_that_does_not_fit_is_refused(self, stream: bool) -> None:
        async with connected_client(ScriptedEngine(lambda _: OUTPUT, context_window=8)) as client:
            with pytest.raises(openai.BadRequestError) as raised:
                await client.completions.create(model="any", prompt="x" * 8, stream=stream)
        assert raised.value.type == "prompt_too_long"

    async def test_an_internal_error_does_not_reveal_its_message(self) -> None:
        def fail(_: Any) -> str:
            raise ValueError("the user's code")

        async with connected_client(ScriptedEngine(fail)) as client:
            with pytest.raises(openai.InternalServerError) as raised:
                await client.completions.create(model="any", prompt="x")
        assert raised.value.type == "internal_error"
        assert "the user's code" not in str(raised.value)


class TestToken:
    async def test_a_request_with_the_token_is_answered(self, engine: ScriptedEngine) -> None:
        async with connected_client(engine, token="secret") as client:
            assert (await client.completions.create(model="any", prompt="x")).choices

    @pytest.mark.parametrize("authorization", [None, "Bearer wrong", "secret", "Bearer secrét"])
    async def test_a_request_without_the_token_is_refused(
        self, engine: ScriptedEngine, authorization: str | None
    ) -> None:
        headers = {} if authorization is None else {"Authorization": authorization.encode()}
        async with (
            serving(engine, token="secret") as endpoint,
            httpx2.AsyncClient(base_url=endpoint.url, headers=headers) as plain,
        ):
            for path in ("/v1/models", "/tokenizer.json", "/nothing"):
                answer = await plain.get(path)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"

    async def test_openais_client_understands_the_refusal(self, engine: ScriptedEngine) -> None:
        async with (
            serving(engine, token="secret") as endpoint,
            openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="wrong") as client,
        ):
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        assert engine.requests == []
