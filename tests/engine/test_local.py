"""The engine in this process: what happens when it, or a caller's event loop, is closed."""

import asyncio
import time

from engine.api import Chunk, GenerationRequest
from engine.local import LocalEngine
from engine.settings import EngineSettings

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
