"""A disconnect of the client stops the decoding within a token or two."""

import asyncio
from typing import Any

import httpx2
import pytest

from engine.scripted import ScriptedEngine
from tests.engine.server.serving import connected_client, serving, until

LONG = "x" * 2000


@pytest.fixture
def slow() -> ScriptedEngine:
    return ScriptedEngine(lambda _: LONG, seconds_per_token=0.01)


class LoadingEngine(ScriptedEngine):
    """An engine whose model is never loaded; it counts who waits for it."""

    num_waiting: int = 0

    async def info(self) -> Any:
        """Wait for ever."""
        self.num_waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.num_waiting -= 1

    async def tokenizer(self, adapter: str | None = None) -> Any:
        """Wait for ever."""
        await self.info()


class TestDisconnecting:
    async def test_closing_a_stream_stops_the_decoding(self, slow: ScriptedEngine) -> None:
        async with connected_client(slow) as client:
            stream = await client.completions.create(
                model="any", prompt="x", max_tokens=2000, stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            await until(lambda: slow.stopped_early == 1)
        assert slow.tokens_written < 100

    async def test_closing_a_chat_stops_the_decoding(self, slow: ScriptedEngine) -> None:
        async with connected_client(slow) as client:
            stream = await client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "How?"}], stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            await until(lambda: slow.stopped_early == 1)
        assert slow.tokens_written < 100

    @pytest.mark.parametrize("kind", ["completion", "chat"])
    async def test_cancelling_a_request_without_a_stream_stops_the_decoding(
        self, slow: ScriptedEngine, kind: str
    ) -> None:
        async with connected_client(slow) as client:
            if kind == "chat":
                response: Any = client.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": "How?"}], max_tokens=2000
                )
            else:
                response = client.completions.create(model="any", prompt="x", max_tokens=2000)
            task = asyncio.create_task(response)
            await until(lambda: slow.tokens_written > 2)
            task.cancel()
            await until(lambda: slow.stopped_early == 1)
        assert slow.tokens_written < 100

    async def test_cancelling_before_the_first_token_stops_the_decoding(self) -> None:
        stuck = ScriptedEngine(lambda _: LONG, seconds_per_token=60)
        async with connected_client(stuck) as client:
            response = client.completions.create(model="any", prompt="x", stream=True)
            task = asyncio.create_task(response)
            await until(lambda: len(stuck.requests) == 1)
            task.cancel()
            await until(lambda: stuck.stopped_early == 1)
        assert stuck.tokens_written == 0

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/models"),
            ("GET", "/tokenizer.json"),
            ("GET", "/props"),
            ("GET", "/api/tags"),
            ("GET", "/api/ps"),
            ("POST", "/api/show"),
            ("POST", "/api/generate"),
            ("POST", "/v1/completions"),
            ("POST", "/infill"),
        ],
    )
    async def test_nothing_waits_for_the_model_after_a_disconnect(
        self, method: str, path: str
    ) -> None:
        """Clients that watch a server ask it again and again while it loads its model."""
        engine = LoadingEngine(lambda _: LONG)
        bodies = {
            "/v1/completions": {"prompt": "x"},
            "/infill": {"input_prefix": "x", "input_suffix": "y"},
        }
        async with (
            serving(engine) as endpoint,
            httpx2.AsyncClient(base_url=endpoint.url) as plain,
        ):
            request = plain.request(method, path, json=bodies.get(path, {}))
            task = asyncio.create_task(request)
            await until(lambda: engine.num_waiting == 1)
            task.cancel()
            await until(lambda: engine.num_waiting == 0)

    async def test_the_request_after_a_disconnect_is_answered(self, slow: ScriptedEngine) -> None:
        async with connected_client(slow) as client:
            stream = await client.completions.create(
                model="any", prompt="x", max_tokens=2000, stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            answer = await client.completions.create(model="any", prompt="x", max_tokens=1)
        assert answer.choices[0].text == "x"
