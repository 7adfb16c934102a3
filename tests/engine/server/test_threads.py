"""Threads are shared: no user occupies all of them, even after closing the connections."""

import asyncio
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest

from engine.api import FimText, RenderedFim
from engine.errors import RequestError
from engine.scripted import ScriptedEngine
from engine.server.operation.request_record import RequestRecord
from engine.server.users.guard import KeyRing
from engine.server.users.key_file import StoredLimits, create_key
from engine.tokenizer import Tokenizer
from fim.prompt import rendering
from tests.engine.server.serving import serving, until

SLOW = "slow"
NUM_REQUESTS = 40
"""More than an event loop has threads, and fewer than a user may have requests."""


class SlowRendering:
    """Renders a prompt as usual, but one with the text `SLOW` only when `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.num_running = 0
        self.most_running = 0
        self._lock = threading.Lock()

    def __call__(
        self, text: FimText, tokenizer: Tokenizer, form: str, max_tokens: int
    ) -> RenderedFim:
        if text.prefix == SLOW:
            with self._lock:
                self.num_running += 1
                self.most_running = max(self.most_running, self.num_running)
            self.go_on.wait(30)
            with self._lock:
                self.num_running -= 1
        return rendering.render(text, tokenizer, form, max_tokens)


@dataclass
class CountingEngine(ScriptedEngine):
    """An engine that counts the requests whose prompts are about to be rendered."""

    num_arrived: int = 0

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        self.num_arrived += 1
        return await super().tokenizer(adapter)


async def fill(url: str, key: str, prompt: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        body = {"prompt": prompt, "suffix": "x", "max_tokens": 4}
        return (await client.post("/v1/fim/completions", json=body)).status_code


@pytest.mark.parametrize("closes", [False, True])
async def test_a_user_with_slow_prompts_delays_no_other(tmp_path: Path, closes: bool) -> None:
    path, slow, engine = tmp_path / "keys.json", SlowRendering(), CountingEngine(lambda _: "x")
    alice, bob = (create_key(path, name, StoredLimits()) for name in ("alice", "bob"))
    records: list[RequestRecord] = []
    async with serving(
        engine, keys=KeyRing(path), render_fim=slow, observers=[records.append]
    ) as endpoint:
        try:
            for wave in range(1, 4 if closes else 2):
                tasks = [
                    asyncio.create_task(fill(endpoint.url, alice, SLOW))
                    for _ in range(NUM_REQUESTS)
                ]
                arrived = wave * NUM_REQUESTS
                await until(partial(lambda number: engine.num_arrived == number, arrived), 20)
                await until(lambda: slow.num_running > 0)
                if closes:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    await until(partial(lambda number: len(records) == number, arrived), 20)
            assert await asyncio.wait_for(fill(endpoint.url, bob, "quick"), 5) == 200
            assert slow.most_running <= 2
        finally:
            slow.go_on.set()
        if not closes:
            assert set(await asyncio.gather(*tasks)) == {200}
        # The threads are free again.
        assert await asyncio.wait_for(fill(endpoint.url, alice, SLOW), 5) == 200


async def test_a_thread_is_free_again_after_a_failure(engine: ScriptedEngine) -> None:
    def render(text: FimText, tokenizer: Tokenizer, form: str, max_tokens: int) -> RenderedFim:
        if text.prefix == "odd":
            raise RequestError("The prompt is odd.")
        return rendering.render(text, tokenizer, form, max_tokens)

    async with serving(engine, render_fim=render) as endpoint:
        for _ in range(3):  # more than a user has threads
            assert await asyncio.wait_for(fill(endpoint.url, "any", "odd"), 5) == 400
        assert await asyncio.wait_for(fill(endpoint.url, "any", "quick"), 5) == 200
