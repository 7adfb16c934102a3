"""A cancelled command ends immediately, with all processes that it has started."""

import asyncio
import time
import uuid

import psutil
import pytest

from sandbox.cancellable import run_cancellable
from sandbox.command import Command, Outcome
from sandbox.sandbox import Sandbox


def processes_with(word: str) -> list[psutil.Process]:
    return [
        each for each in psutil.process_iter(["cmdline"]) if word in (each.info["cmdline"] or ())
    ]


async def test_cancelling_kills_all_processes(box: Sandbox) -> None:
    word = uuid.uuid4().hex
    script = f"sleep 1000 & setsid sh -c 'sleep 1000; :' {word} & exec sh -c 'sleep 1000; :' {word}"
    task = asyncio.create_task(run_cancellable(box, Command(("sh", "-c", script))))
    async with asyncio.timeout(10):
        while len(processes_with(word)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 2
    async with asyncio.timeout(2):
        while processes_with(word):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_event_loop_goes_on_while_a_command_runs(box: Sandbox) -> None:
    longest, last = 0.0, time.monotonic()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    ticking = asyncio.create_task(tick())
    result = await run_cancellable(box, Command(("sleep", "1")))
    ticking.cancel()
    assert result.outcome is Outcome.PASSED
    assert longest < 0.6
