"""All editors share one engine process, which is replaced if it dies."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.checkpoint_maker import make_checkpoint
from tests.e2e.client import start

pytestmark = pytest.mark.usefixtures("own_engines")


async def test_two_servers_share_one_engine_process(tiny_checkpoint: Path) -> None:
    settings = {"model": str(tiny_checkpoint)}
    async with start(settings=settings) as first, start(settings=settings) as second:
        await asyncio.gather(first.wait_for_state("ready"), second.wait_for_state("ready"))
        infos = [await editor.request("starcoder/debugInfo") for editor in (first, second)]
        assert infos[0]["engine"]["pid"] == infos[1]["engine"]["pid"]
        assert infos[0]["pid"] != infos[1]["pid"]
        engine = infos[0]["engine"]["pid"]
    assert psutil.pid_exists(engine)  # it runs on until it has been idle for a long time


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def wait_until_busy(pid: int, idle_seconds: float) -> None:
    """Wait until a process has worked for 50 ms since it had used `idle_seconds`."""
    while cpu_seconds(pid) < idle_seconds + 0.05:
        time.sleep(0.005)


async def test_a_key_is_answered_although_its_engine_is_killed(tmp_path: Path) -> None:
    # Large enough that the engine can be killed while it handles a request.
    model = make_checkpoint(
        tmp_path / "slow", n_positions=4096, n_embd=256, n_layer=8, shard_size="1GB"
    )
    settings = {
        "model": str(model),
        "maxNewTokens": 1024,
        "maxPromptTokens": 3000,
        "eagerness": "eager",
    }
    async with start(settings=settings) as editor:
        await editor.wait_for_state("ready")
        engine = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
        text = "x = 1\n" * 400 + "def f(numbers):\n    "
        editor.open(text)
        idle_seconds = cpu_seconds(engine)
        future = editor.request_completion(len(text), invoked=True)
        await asyncio.to_thread(wait_until_busy, engine, idle_seconds)
        del editor.statuses[:]
        os.kill(engine, signal.SIGKILL)
        answer = await asyncio.wait_for(asyncio.wrap_future(future), 60)
        assert answer is not None
        states = [status["state"] for status in editor.statuses]
        assert "error" not in states
        new_engine = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
        assert new_engine not in (None, engine)


async def test_the_status_shows_that_a_killed_engine_starts_again(tmp_path: Path) -> None:
    async with start(settings={"model": "demo"}) as editor:
        await editor.wait_for_state("ready")
        engine = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
        del editor.statuses[:]
        os.kill(engine, signal.SIGKILL)
        text = "for item in items:\n    print(item)\n\nfor item in ite"
        editor.open(text)
        assert await editor.suggestion(len(text), invoked=True)
        await editor.wait_for_state("ready")
        states = [status["state"] for status in editor.statuses]
        assert "starting" in states
        assert "error" not in states
