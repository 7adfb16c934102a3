"""Who closes the connection stops the decoding, within a token or two."""

import asyncio
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from tests.engine.server.serving import asking, until

LONG = "x" * 2000


@pytest.fixture
def slow() -> ScriptedEngine:
    return ScriptedEngine(lambda _: LONG, seconds_per_token=0.01)


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
