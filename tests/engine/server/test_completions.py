"""`/v1/completions`, called by OpenAI's own client."""

from typing import Any

import openai
import pytest

from engine.api import Priority
from engine.scripted import ScriptedEngine, byte_tokenizer
from tests.engine.server.serving import OUTPUT, ids, post


class TestCompletions:
    async def test_a_text_prompt_is_answered(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        answer = await client.completions.create(model="any", prompt="def f", max_tokens=100)
        assert answer.object == "text_completion"
        assert answer.model == "scripted"
        assert [choice.text for choice in answer.choices] == [OUTPUT]
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 5
        assert answer.usage.completion_tokens == len(OUTPUT)
        assert answer.usage.total_tokens == 5 + len(OUTPUT)
        assert list(engine.requests[0].prompt) == ids("def f")
        assert engine.requests[0].priority == Priority.COMPLETION

    async def test_a_prompt_of_ids_is_not_changed(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        prompt = [1, *ids("a"), 3, *ids("b"), 2]
        await client.completions.create(model="any", prompt=prompt)
        assert list(engine.requests[0].prompt) == prompt

    async def test_the_defaults_are_openais(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        answer = await client.completions.create(model="any", prompt="x")
        assert engine.requests[0].max_new_tokens == 16
        assert engine.requests[0].sampling.temperature == 1.0
        assert engine.requests[0].logprobs is None
        assert answer.choices[0].finish_reason == "length"
        assert answer.choices[0].text == OUTPUT[:16]

    async def test_null_means_the_default(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        nullable = (
            "echo",
            "logprobs",
            "max_tokens",
            "n",
            "seed",
            "stop",
            "stream",
            "stream_options",
            "temperature",
            "top_p",
        )
        body = {"prompt": "x"} | dict.fromkeys(nullable)
        answer = await post(client, "completions", body)
        assert answer.status_code == 200, answer.text
        assert engine.requests[0].max_new_tokens == 16
        assert engine.requests[0].sampling.temperature == 1.0

    async def test_sampling_reaches_the_engine(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        await client.completions.create(
            model="any",
            prompt="x",
            temperature=0.5,
            top_p=0.9,
            seed=7,
            extra_body={"top_k": 40, "repetition_penalty": 1.1, "priority": 9},
        )
        sampling = engine.requests[0].sampling
        assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.9, 7)
        assert (sampling.top_k, sampling.repetition_penalty) == (40, 1.1)
        assert engine.requests[0].priority == Priority.PREFETCH

    @pytest.mark.parametrize("stop", ["\n\n", ["nowhere", "\n\n"]])
    async def test_stop_text_ends_the_output_and_is_not_in_it(
        self, client: openai.AsyncOpenAI, stop: str | list[str]
    ) -> None:
        answer = await client.completions.create(model="any", prompt="x", max_tokens=100, stop=stop)
        assert answer.choices[0].text == "return a + b"
        assert answer.choices[0].finish_reason == "stop"

    async def test_a_stop_id_ends_the_output_and_is_not_in_it(
        self, client: openai.AsyncOpenAI
    ) -> None:
        answer = await client.completions.create(
            model="any",
            prompt="x",
            max_tokens=100,
            extra_body={"stop_token_ids": ids("\n"), "return_token_ids": True},
        )
        assert answer.choices[0].text == "return a + b"
        assert answer.choices[0].model_dump()["token_ids"] == ids("return a + b")

    async def test_a_stream_has_the_same_text_in_chunks(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.completions.create(
            model="any",
            prompt="x",
            max_tokens=100,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"return_token_ids": True},
        )
        *chunks, usage = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].text for chunk in chunks) == OUTPUT
        assert len(chunks) > 10
        *early, last = [chunk.choices[0].finish_reason for chunk in chunks]
        assert early == [None] * len(early)
        assert last == "stop"
        ids_of_chunks = [chunk.choices[0].model_dump()["token_ids"] for chunk in chunks]
        assert [id_ for chunk_ids in ids_of_chunks for id_ in chunk_ids] == ids(OUTPUT)
        assert usage.choices == []
        assert usage.usage is not None
        assert usage.usage.completion_tokens == len(OUTPUT)
        assert len({chunk.id for chunk in (*chunks, usage)}) == 1

    async def test_a_stream_reports_usage_only_on_request(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.completions.create(model="any", prompt="x", stream=True)
        assert all([chunk.usage is None and chunk.choices async for chunk in stream])

    async def test_a_list_of_prompts_gives_a_list_of_choices(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        engine.script = lambda request: engine.model_tokenizer.decode(request.prompt).upper()
        from_text = await client.completions.create(model="any", prompt=["one", "three"])
        from_ids = await client.completions.create(model="any", prompt=[ids("one"), ids("three")])
        for answer in (from_text, from_ids):
            assert [choice.text for choice in answer.choices] == ["ONE", "THREE"]
            assert [choice.index for choice in answer.choices] == [0, 1]
            assert answer.usage is not None
            assert answer.usage.prompt_tokens == answer.usage.completion_tokens == 8

    @pytest.mark.parametrize("stream", [False, True])
    async def test_names_of_special_tokens_are_text_by_default(
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
        assert engine.model_tokenizer.special_id("<fim_prefix>") == 1


class TestLogprobs:
    async def test_each_token_has_a_logprob(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(model="any", prompt="x", max_tokens=3, logprobs=2)
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.tokens == ["r", "e", "t"]
        assert logprobs.token_logprobs == [-0.01] * 3
        assert logprobs.text_offset == [0, 1, 2]

    async def test_a_stream_has_logprobs_too(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.completions.create(
            model="any", prompt="x", max_tokens=3, logprobs=0, stream=True
        )
        logprobs = [c.choices[0].logprobs async for c in stream if c.choices[0].logprobs]
        assert [token for each in logprobs for token in each.tokens or ()] == ["r", "e", "t"]
        assert [offset for each in logprobs for offset in each.text_offset or ()] == [0, 1, 2]

    @pytest.mark.parametrize("prompt", ["abc", ids("abc")])
    async def test_a_text_is_scored_without_generating(
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

    async def test_prompt_and_output_are_scored_together(self, client: openai.AsyncOpenAI) -> None:
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


async def test_an_echo_has_the_special_tokens_of_the_prompt(client: openai.AsyncOpenAI) -> None:
    prompt = ids("x")
    special = byte_tokenizer().special_tokens["<fim_prefix>"]
    answer = await client.completions.create(
        model="any", prompt=[special, *prompt], max_tokens=1, echo=True
    )
    assert answer.choices[0].text == "<fim_prefix>x" + OUTPUT[0]
