"""The engine in this process: what happens when it, or a caller's event loop, is closed."""

import asyncio
import time
from pathlib import Path

import pytest

from engine.api import Chunk, GenerationRequest, Priority
from engine.local import LocalEngine
from engine.settings import KV_CACHES, EngineSettings
from tests.checkpoint_maker import make_checkpoint

SETTINGS = EngineSettings(model="demo", device="cpu")
LONG = GenerationRequest((20, 30, 40), 900)


async def test_closing_the_engine_ends_a_running_stream() -> None:
    engine = LocalEngine(SETTINGS)
    stream = engine.stream(LONG)
    first = await anext(stream)
    await engine.aclose()
    async with asyncio.timeout(20):
        rest = [chunk async for chunk in stream]
    assert isinstance(first, Chunk)
    assert not any(chunk.finish for chunk in rest)


async def test_closing_the_engine_ends_jobs_that_have_not_started() -> None:
    engine = LocalEngine(SETTINGS)
    await engine.info()
    tasks = [asyncio.create_task(_ids(engine, LONG)) for _ in range(40)]
    await asyncio.sleep(0.05)
    await engine.aclose()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)


async def test_closing_a_stream_stops_its_request(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "model", n_positions=4096)
    engine = LocalEngine(EngineSettings(str(path), device="cpu"))
    stream = engine.stream(GenerationRequest((30, 31, 32), 4000))
    await anext(stream)
    await stream.aclose()
    # A prefetch runs only when nothing else does.
    prefetch = GenerationRequest((40,), 1, priority=Priority.PREFETCH)
    assert await _ids(engine, prefetch)
    assert engine.metrics().computed_tokens < 4000
    await engine.aclose()


def test_a_closed_event_loop_cancels_its_request_and_others_go_on() -> None:
    engine = LocalEngine(SETTINGS)
    closed = asyncio.new_event_loop()
    lost = engine.stream(LONG)
    closed.run_until_complete(anext(lost))
    closed.close()
    ids = asyncio.run(_ids(engine, GenerationRequest((20, 30, 41), 8)))
    assert ids
    time.sleep(0.2)  # several steps
    steps = engine.metrics().steps
    time.sleep(0.2)
    assert engine.metrics().steps == steps
    assert steps < 900
    asyncio.run(engine.aclose())


async def _ids(engine: LocalEngine, request: GenerationRequest) -> list[int]:
    return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]


@pytest.mark.parametrize(("kv_caches", "is_reused"), [(KV_CACHES, False), (64, True)])
async def test_a_prefix_cache_for_many_users_keeps_the_prompts_of_all(
    tmp_path: Path, kv_caches: int, is_reused: bool
) -> None:
    path = make_checkpoint(tmp_path / "model", n_positions=512)
    engine = LocalEngine(EngineSettings(str(path), device="cpu", kv_caches=kv_caches))
    prompts = [(30 + user, *range(100, 350)) for user in range(40)]
    prompts = [(*prompt, *prompt[1:]) for prompt in prompts]  # nearly a window each
    for prompt in prompts * 2:
        await _ids(engine, GenerationRequest(prompt, 1))
    reused = engine.metrics().reused_tokens
    assert reused == (sum(len(prompt) - 1 for prompt in prompts) if is_reused else 0)
    await engine.aclose()
