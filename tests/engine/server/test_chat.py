"""`/v1/chat/completions`, called by OpenAI's own client."""

import openai
import pytest

from engine.api import Priority
from engine.scripted import ScriptedEngine
from tests.engine.server.serving import connected_client


class TestChat:
    async def test_a_conversation_is_answered(
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
        assert engine.model_tokenizer.decode(request.prompt).endswith("Human: How?\n\nAssistant:")
        assert request.priority == Priority.CHAT

    async def test_a_stream_has_the_same_text_in_chunks(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        engine.script = lambda _: "\n Use a loop."
        stream = await client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": "How?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        *chunks, usage = [chunk async for chunk in stream]
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert deltas[0].role == "assistant"
        assert "".join(delta.content or "" for delta in deltas) == "Use a loop."
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert usage.choices == []
        assert usage.usage is not None
        assert usage.usage.completion_tokens == len("\n Use a loop.")

    async def test_logprobs_have_the_chat_format(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "How?"}], max_tokens=3, logprobs=True
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert [(entry.token, entry.logprob) for entry in logprobs.content] == [
            ("r", -0.01),
            ("e", -0.01),
            ("t", -0.01),
        ]

    async def test_a_conversation_that_cannot_be_answered_is_refused(
        self, client: openai.AsyncOpenAI
    ) -> None:
        with pytest.raises(openai.BadRequestError, match="last message"):
            await client.chat.completions.create(
                model="any", messages=[{"role": "assistant", "content": "Hello."}]
            )

    async def test_without_a_renderer_chat_is_refused(self, engine: ScriptedEngine) -> None:
        async with connected_client(engine, render_chat=None) as client:
            with pytest.raises(openai.BadRequestError, match="renderer"):
                await client.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": "How?"}]
                )
