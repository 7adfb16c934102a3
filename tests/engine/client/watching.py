"""Watches an engine at a URL, as an editor window does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from engine.api import GenerationRequest
from engine.client.remote import RemoteEngine
from engine.client.remote_watch import Report
from engine.scripted import byte_tokenizer

LIMIT_S = 20
REQUEST = GenerationRequest(tuple(byte_tokenizer().encode("x = ")), 8)


@asynccontextmanager
async def watched(engine: RemoteEngine) -> AsyncIterator[list[Report]]:
    """Watch an engine inside the block, as an editor window does; yields the reports so far."""
    reports: list[Report] = []

    async def watch() -> None:
        async with aclosing(engine.reports()) as stream:
            async for report in stream:
                reports.append(report)

    task = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(LIMIT_S):
            yield reports
    finally:
        await engine.aclose()
        await asyncio.wait_for(task, 2)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def text_of(engine: RemoteEngine, request: GenerationRequest = REQUEST) -> str:
    await engine.info()
    return "".join([chunk.text async for chunk in engine.stream(request)])
