"""A user who types waits for no other request longer than for one prefill chunk."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from benchmarks.engine_metrics import engine_values
from engine.client.endpoint import Endpoint
from engine.local import LocalEngine
from engine.server import limits
from engine.settings import EngineSettings
from tests.engine.server.serving import serving

KEY = {"prompt": "def f(x):\n    retu", "max_tokens": 2, "temperature": 0}
CHUNK_S = 0.25
"""Seconds of the longest prefill chunk (engine.scheduling.policy)."""
LATENCY_S = 2 * CHUNK_S + 0.75
"""Most seconds for a key: a chunk that has begun, its own steps, and a machine that runs another
test at the same time."""

WORDS = "value = compute(another, 12)\n"
LARGEST: dict[str, dict[str, Any]] = {
    "a text that does not fit": {"prompt": "x" * (limits.MAX_BODY_BYTES - 1000)},
    "a whole window": {"prompt": WORDS * 60, "max_tokens": 400},
    "many prompts": {"prompt": [WORDS * 50] * 40, "max_tokens": 20},
    "many log-probabilities": {
        "prompt": [WORDS * 60] * 25,
        "max_tokens": 1,
        "echo": True,
        "logprobs": 18,
    },
    "a long forced prefix": {
        "prompt": "x",
        "forced_prefix": WORDS * 60,
        "max_tokens": 900,
    },
    "long stop strings": {
        "prompt": WORDS,
        "stop": [(WORDS * 40)[:1000]] * 64,
        "max_tokens": 400,
    },
    "long drafts": {"prompt": WORDS, "draft_tokens": [9, 10] * 1024, "max_tokens": 400},
    "ids of every kind": {"prompt": list(range(1000)), "stop_token_ids": list(range(8, 1000))},
    "a value of the wrong type": {"prompt": [None] * 300_000},
}


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    engine = LocalEngine(EngineSettings(model="demo", device="cpu"))
    await engine.info()
    async with serving(engine) as endpoint:
        yield endpoint
    await engine.aclose()


@pytest.mark.parametrize("kind", LARGEST)
async def test_a_key_is_answered_during_the_largest_request(endpoint: Endpoint, kind: str) -> None:
    async with httpx2.AsyncClient(base_url=endpoint.url, timeout=60) as client:
        await client.post("/v1/completions", json=KEY)
        content = json.dumps(LARGEST[kind]).encode()
        assert len(content) < limits.MAX_BODY_BYTES
        large = asyncio.create_task(
            client.post(
                "/v1/completions", content=content, headers={"Content-Type": "application/json"}
            )
        )
        latencies = []
        for _ in range(12):
            started = time.perf_counter()
            answer = await client.post("/v1/completions", json=KEY)
            latencies.append(time.perf_counter() - started)
            assert answer.status_code == 200
            await asyncio.sleep(0.02)
        large.cancel()
    assert max(latencies) < LATENCY_S


async def test_work_stops_when_its_client_leaves(endpoint: Endpoint) -> None:
    """The engine is idle within a moment, whatever it was doing for that client."""
    async with httpx2.AsyncClient(base_url=endpoint.url, timeout=60) as client:
        for kind, body in LARGEST.items():
            task = asyncio.create_task(client.post("/v1/completions", json=body))
            await asyncio.sleep(0.15)
            task.cancel()
            await asyncio.sleep(0.6)
            before = engine_values((await client.get("/metrics")).text)
            await asyncio.sleep(0.2)
            assert engine_values((await client.get("/metrics")).text) == before, kind
