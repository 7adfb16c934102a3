"""`suffix` on `/v1/completions`, the names of the model, and prompts that are templates."""

from dataclasses import replace
from typing import Any

import openai
import pytest

from engine.api import FimText
from engine.scripted import ScriptedEngine, byte_tokenizer
from engine.server.completions import _check_suffix
from engine.server.schema import CompletionBody
from fim.prompt.rendering import render
from tests.engine.server.serving import OUTPUT, connected_client, ids, post

PREFIX, MIDDLE, SUFFIX = 1, 2, 3
SPECIAL = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>")


def rendered(prefix: str, suffix: str, room: int = 90_000) -> list[int]:
    return list(render(FimText(prefix, suffix), byte_tokenizer(), "", room).ids)


class TestSuffix:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_model_fills_in_between(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine, stream: bool
    ) -> None:
        options: Any = {"model": "any", "max_tokens": 100, "stream": stream}
        answer = await client.completions.create(prompt="a(<fim_prefix>", suffix=")", **options)
        if stream:
            text = "".join([chunk.choices[0].text async for chunk in answer])
        else:
            text = answer.choices[0].text
        assert text == OUTPUT
        (request,) = engine.requests
        assert list(request.prompt) == rendered("a(<fim_prefix>", ")")
        assert request.prompt.count(PREFIX) == 1
        assert {PREFIX, MIDDLE, SUFFIX} <= request.stop_ids

    async def test_several_prompts_have_the_same_suffix(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        answer = await client.completions.create(model="any", prompt=["a", "b"], suffix="c")
        assert [choice.index for choice in answer.choices] == [0, 1]
        prompts = [list(request.prompt) for request in engine.requests]
        assert prompts == [rendered("a", "c"), rendered("b", "c")]

    @pytest.mark.parametrize("suffix", ["", None])
    async def test_an_empty_suffix_is_none(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine, suffix: str | None
    ) -> None:
        await client.completions.create(model="any", prompt="a", suffix=suffix)
        assert list(engine.requests[0].prompt) == ids("a")

    async def test_echo_repeats_what_was_sent(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(
            model="any", prompt="a<fim_middle>", suffix="c", echo=True, max_tokens=3
        )
        assert answer.choices[0].text == "a<fim_middle>ret"

    async def test_the_output_has_log_probabilities(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(
            model="any", prompt="a", suffix="c", logprobs=1, max_tokens=3
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.tokens == ["r", "e", "t"]

    async def test_a_long_text_is_cut_to_the_window_and_leaves_room(self) -> None:
        engine = ScriptedEngine(lambda _: OUTPUT, context_window=400)
        async with connected_client(engine) as client:
            before = "".join(f"b{n}\n" for n in range(1000))
            after = "".join(f"a{n}\n" for n in range(1000))
            for max_tokens, room in ((100, 300), (5000, 200)):
                await client.completions.create(
                    model="any", prompt=before, suffix=after, max_tokens=max_tokens
                )
                prompt = engine.requests[-1].prompt
                assert list(prompt) == rendered(before, after, room)
                assert room // 2 < len(prompt) <= room

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"prompt": ids("a")}, "is text"),
            ({"prompt": [ids("a")]}, "is text"),
            ({"parse_special": True}, "is text"),
            ({"echo": True, "logprobs": 0}, "no log-probabilities"),
            ({"suffix": 5}, "'suffix' cannot be used"),
        ],
    )
    async def test_what_cannot_be_combined_is_refused(
        self, client: openai.AsyncOpenAI, fields: dict[str, Any], message: str
    ) -> None:
        answer = await post(client, "completions", {"prompt": "a", "suffix": "c", **fields})
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]

    @pytest.mark.parametrize("path", ["/v1/completions", "/infill", "/api/generate"])
    @pytest.mark.parametrize(
        ("special", "renderer", "message"),
        [
            (("<|endoftext|>",), render, "no fill-in-the-middle tokens"),
            (SPECIAL, None, "without a FIM renderer"),
        ],
    )
    async def test_a_server_that_cannot_fill_in_says_so(
        self, special: tuple[str, ...], renderer: Any, message: str, path: str
    ) -> None:
        engine = ScriptedEngine(lambda _: OUTPUT, model_tokenizer=byte_tokenizer(special))
        body = {"prompt": "a", "suffix": "c"}
        if path == "/infill":
            body = {"input_prefix": "a", "input_suffix": "c"}
        async with connected_client(engine, render_fim=renderer) as client:
            answer = await post(client, f"..{path}", body)
        assert answer.status_code == 400
        assert message in answer.text
        assert engine.requests == []

    def test_only_a_suffix_is_checked(self) -> None:
        _check_suffix(CompletionBody(prompt=[1], parse_special=True, suffix=""))


class TestTemplates:
    """Plugins write the tokens of the model into the prompt and cannot set `parse_special`."""

    @pytest.mark.parametrize(
        ("prompt", "expected"),
        [
            ("<fim_prefix>a<fim_suffix>c<fim_middle>", [1, *ids("a"), 3, *ids("c"), 2]),
            ("<filename>x<fim_prefix>a", [5, *ids("x"), 1, *ids("a")]),
            ("<fim_prefix>a", ids("<fim_prefix>a")),
            ("x<fim_prefix>a<fim_suffix>", ids("x<fim_prefix>a<fim_suffix>")),
            (" <fim_prefix><fim_suffix>", ids(" <fim_prefix><fim_suffix>")),
        ],
    )
    async def test_a_prompt_that_begins_with_a_token_and_has_another_is_one(
        self,
        client: openai.AsyncOpenAI,
        engine: ScriptedEngine,
        prompt: str,
        expected: list[int],
    ) -> None:
        await client.completions.create(model="any", prompt=prompt)
        await post(client, "../completion", {"prompt": prompt})
        await post(client, "../api/generate", {"prompt": prompt, "raw": True})
        is_template = expected[0] < 6
        assert len(engine.requests) == 3
        for request in engine.requests:
            assert list(request.prompt) == expected
            assert (PREFIX in request.stop_ids) == is_template

    async def test_parse_special_decides_if_it_is_set(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        prompt = "<fim_prefix>a<fim_suffix>"
        for value in (False, True):
            await post(client, "completions", {"prompt": prompt, "parse_special": value})
        as_text, as_special = (list(request.prompt) for request in engine.requests)
        assert as_text == ids(prompt)
        assert as_special == [1, *ids("a"), 3]


class TestModelNames:
    @pytest.mark.parametrize(
        "name", [None, "", "any", "default", "PLACEHOLDER", "scripted", "scripted:latest", "my-one"]
    )
    async def test_these_names_mean_the_model(self, name: str | None) -> None:
        engine = ScriptedEngine(lambda _: OUTPUT)
        async with connected_client(engine, aliases=["my-one"]) as client:
            for path, body in REQUESTS:
                answer = await post(client, path, {**body, "model": name})
                assert answer.status_code == 200, answer.text

    async def test_another_name_is_not_found(self, client: openai.AsyncOpenAI) -> None:
        for path, body in REQUESTS:
            answer = await post(client, path, {**body, "model": "gpt-4"})
            assert answer.status_code == 404
            error = answer.json()["error"]
            if path.startswith(".."):
                assert "'gpt-4' is not served" in error
            else:
                assert error["code"] == "model_not_found"
                assert "'gpt-4' is not served" in error["message"]
        with pytest.raises(openai.NotFoundError, match="Request 'scripted'"):
            await client.completions.create(model="gpt-4", prompt="x")

    async def test_the_last_part_of_a_path_is_a_name(self) -> None:
        engine = _NamedEngine(lambda _: OUTPUT)
        async with connected_client(engine) as client:
            for name, status in (
                ("bigcode/starcoder2-3b", 200),
                ("starcoder2-3b", 200),
                ("bigcode", 404),
                ("an-adapter", 200),
                ("an-adapter:latest", 200),
            ):
                answer = await post(client, "completions", {"prompt": "x", "model": name})
                assert answer.status_code == status, name
        assert [request.adapter for request in engine.requests] == [
            None,
            None,
            "an-adapter",
            "an-adapter",
        ]


class _NamedEngine(ScriptedEngine):
    """An engine with the name of a hub id and an adapter."""

    async def info(self) -> Any:
        return replace(
            await super().info(), model="bigcode/starcoder2-3b", adapters=("an-adapter",)
        )


MESSAGES = [{"role": "user", "content": "x"}]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("completions", {"prompt": "x"}),
    ("chat/completions", {"messages": MESSAGES}),
    ("../api/generate", {"prompt": "x", "stream": False}),
    ("../api/chat", {"messages": MESSAGES, "stream": False}),
    ("../api/show", {}),
]
