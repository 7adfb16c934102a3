"""Ollama's API, as completion plugins use it."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx2
import openai
import pytest

from engine.api import EngineInfo, Priority, Sampling
from engine.scripted import ScriptedEngine, byte_tokenizer
from engine.server.fields import IGNORED_HEADER
from tests.engine.server.serving import OUTPUT, connected_client, ids, post

IN_ORDER = [1, 3, *ids("c"), 2, *ids("a")]
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>"


class _ChatEngine(ScriptedEngine):
    """An engine whose model has a chat template."""

    async def info(self) -> EngineInfo:
        return replace(await super().info(), chat_template=TEMPLATE)


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def check_last(last: dict[str, Any], reason: str) -> None:
    assert (last["done"], last["done_reason"]) == (True, reason)
    datetime.fromisoformat(last["created_at"])
    for name in ("total_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(last[name], int)


async def test_a_stream_is_the_default(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    body = {"model": "scripted:latest", "prompt": "a", "suffix": "c"}
    *pieces, last = lines(await post(client, "../api/generate", body))
    assert "".join(piece["response"] for piece in pieces) == OUTPUT
    assert len(pieces) > 10
    assert {piece["done"] for piece in pieces} == {False}
    assert {piece["model"] for piece in pieces} == {"scripted:latest"}
    check_last(last, "stop")
    assert last["response"] == ""
    assert (last["prompt_eval_count"], last["eval_count"]) == (len(IN_ORDER), len(OUTPUT))
    assert list(engine.requests[0].prompt) == IN_ORDER
    assert {1, 2, 3} <= engine.requests[0].stop_ids


async def test_one_object_without_a_stream(client: openai.AsyncOpenAI) -> None:
    options = {"num_predict": 3}
    body = {"prompt": "a", "suffix": "c", "stream": False, "options": options}
    answer = (await post(client, "../api/generate", body)).json()
    assert answer["response"] == "ret"
    check_last(answer, "length")


async def test_options_reach_the_engine(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    for options in (
        {"temperature": 0.2, "top_p": 0.5, "top_k": 9, "seed": 4, "repeat_penalty": 1.2},
        None,
        {"stop": "\n", "num_predict": -1, "top_k": -1, "top_p": 0},
        {"stop": ["x", ""], "num_predict": 0},
    ):
        await post(client, "../api/generate", {"prompt": "a", "options": options})
    first, second, third, fourth = engine.requests
    assert first.sampling == Sampling(0.2, 0.5, 9, 1.2, 4)
    assert second.sampling == Sampling(0.8, 0.9, 40, 1.0, None)
    assert second.max_new_tokens == third.max_new_tokens == engine.context_window
    assert third.stop_text == ("\n",)
    assert third.sampling.top_k == 0
    assert (fourth.stop_text, fourth.max_new_tokens) == (("x",), 1)


@pytest.mark.parametrize(("path", "key"), [("generate", "response"), ("chat", "message")])
async def test_without_a_prompt_the_model_is_only_loaded(
    client: openai.AsyncOpenAI, engine: ScriptedEngine, path: str, key: str
) -> None:
    answer = (await post(client, f"../api/{path}", {"keep_alive": "5m"})).json()
    assert (answer["done"], answer["done_reason"]) == (True, "load")
    assert answer["model"] == "scripted"
    assert key in answer
    assert engine.requests == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "json"}, "'format' is not supported"),
        ({"format": {"type": "object"}}, "'format' is not supported"),
        ({"images": ["AA=="]}, "'images' is not supported"),
        ({"template": "{{ .System }}"}, "'template' is not supported"),
        ({"tools": [{"type": "function"}]}, "'tools' is not supported"),
        ({"think": True}, "'think' is not supported"),
        ({"logprobs": True}, "'logprobs' is not supported"),
        ({"options": {"temperature": "hot"}}, "'options"),
        ({"options": 5}, "'options'"),
        ({"prompt": 5}, "'prompt'"),
        ({"stream": "maybe"}, "'stream'"),
    ],
)
async def test_refusals_have_ollamas_shape(
    client: openai.AsyncOpenAI, fields: dict[str, Any], message: str
) -> None:
    answer = await post(client, "../api/generate", {"prompt": "a", **fields})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert message in answer.json()["error"]


async def test_fields_without_an_effect_are_silent_and_others_named(
    client: openai.AsyncOpenAI,
) -> None:
    silent = {
        "format": "",
        "images": [],
        "template": "{{ .Prompt }}",
        "keep_alive": 1800,
        "options": {"num_ctx": 4096, "num_thread": 4, "use_mmap": True},
    }
    answer = await post(client, "../api/generate", {"prompt": "a", **silent})
    assert answer.status_code == 200
    assert IGNORED_HEADER not in answer.headers
    named = {"context": [1], "options": {"mirostat": 1}}
    answer = await post(client, "../api/generate", {"prompt": "a", **named})
    assert answer.headers[IGNORED_HEADER] == "context, options.mirostat"


async def test_an_error_in_a_stream_is_a_line() -> None:
    engine = ScriptedEngine(lambda _: OUTPUT, context_window=10)
    async with connected_client(engine) as client:
        answer = await post(client, "../api/generate", {"prompt": "a" * 50})
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


class TestChat:
    async def test_a_conversation_is_answered(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        messages = [{"role": "user", "content": "hi", "images": None}]
        *pieces, last = lines(await post(client, "../api/chat", {"messages": messages}))
        assert "".join(piece["message"]["content"] for piece in pieces) == OUTPUT
        assert {piece["message"]["role"] for piece in pieces} == {"assistant"}
        check_last(last, "stop")
        assert engine.requests[0].priority is Priority.CHAT

    async def test_one_object_without_a_stream_begins_with_text(self) -> None:
        engine = ScriptedEngine(lambda _: "\nHi")
        messages = [{"role": "user", "content": "hi"}]
        async with connected_client(engine) as client:
            answer = await post(client, "../api/chat", {"messages": messages, "stream": False})
            streamed = lines(await post(client, "../api/chat", {"messages": messages}))
        assert answer.json()["message"] == {"role": "assistant", "content": "Hi"}
        assert "".join(line["message"]["content"] for line in streamed) == "Hi"

    async def test_images_are_refused(self, client: openai.AsyncOpenAI) -> None:
        messages = [{"role": "user", "content": "hi", "images": ["AA=="]}]
        answer = await post(client, "../api/chat", {"messages": messages})
        assert answer.status_code == 400
        assert "'images'" in answer.json()["error"]

    async def test_without_a_renderer_it_is_refused(self, engine: ScriptedEngine) -> None:
        messages = [{"role": "user", "content": "hi"}]
        async with connected_client(engine, render_chat=None) as client:
            answer = await post(client, "../api/chat", {"messages": messages})
        assert answer.status_code == 400
        assert "chat renderer" in answer.json()["error"]

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({}, "[user]a>"),
            ({"system": "s"}, "[system]s[user]a>"),
            ({"raw": True}, "a"),
            ({"prompt": "<fim_prefix>a<fim_suffix>"}, "<fim_prefix>a<fim_suffix>"),
        ],
    )
    async def test_a_prompt_is_a_question_for_a_chat_model(
        self, fields: dict[str, Any], text: str
    ) -> None:
        engine = _ChatEngine(lambda _: OUTPUT)
        async with connected_client(engine) as client:
            answer = await post(
                client, "../api/generate", {"prompt": "a", "stream": False, **fields}
            )
        assert answer.json()["response"] == OUTPUT
        decoded = byte_tokenizer().decode(engine.requests[0].prompt, skip_special=False)
        assert decoded == text


class TestModels:
    async def test_tags_ps_and_version(self, client: openai.AsyncOpenAI) -> None:
        async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
            tags = (await plain.get("../api/tags")).json()
            running = (await plain.get("../api/ps")).json()
            version = (await plain.get("../api/version")).json()
        assert [model["name"] for model in tags["models"]] == ["scripted"]
        assert running["models"][0]["name"] == "scripted"
        assert len(tags["models"][0]["digest"]) == 64
        assert version["version"].count(".") == 2

    @pytest.mark.parametrize("key", ["model", "name"])
    async def test_show_says_that_the_model_fills_in(
        self, client: openai.AsyncOpenAI, key: str
    ) -> None:
        answer = (await post(client, "../api/show", {key: "scripted"})).json()
        assert ".Suffix" in answer["template"]
        assert answer["capabilities"] == ["completion", "insert"]
        assert answer["parameters"] == "num_ctx 100000"
        assert answer["model_info"]["scripted.context_length"] == 100_000

    async def test_show_says_that_the_model_does_not(self) -> None:
        tokenizer = byte_tokenizer(("<|endoftext|>",))
        engine = ScriptedEngine(lambda _: OUTPUT, model_tokenizer=tokenizer)
        async with connected_client(engine) as client:
            answer = (await post(client, "../api/show", {})).json()
        assert ".Suffix" not in answer["template"]
        assert answer["capabilities"] == ["completion"]
