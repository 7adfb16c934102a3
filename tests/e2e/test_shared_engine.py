"""One engine process for all editors, and another one when it dies."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.checkpoint_maker import make_checkpoint
from tests.e2e.client import start

pytestmark = pytest.mark.usefixtures("own_engines")


async def test_two_servers_use_one_engine_process(tiny_checkpoint: Path) -> None:
    settings = {"model": str(tiny_checkpoint)}
    async with start(settings=settings) as one, start(settings=settings) as other:
        await asyncio.gather(one.until("ready"), other.until("ready"))
        infos = [await editor.request("starcoder/debugInfo") for editor in (one, other)]
        assert infos[0]["engine"]["pid"] == infos[1]["engine"]["pid"]
        assert infos[0]["pid"] != infos[1]["pid"]
        engine = infos[0]["engine"]["pid"]
    assert psutil.pid_exists(engine)  # it outlives the editors, until it was idle for long


async def test_a_killed_engine_is_told_and_replaced(tmp_path: Path) -> None:
    # Large enough that a request takes a while, and can be hit in the middle.
    model = make_checkpoint(
        tmp_path / "slow", n_positions=4096, n_embd=256, n_layer=8, shard_size="1GB"
    )
    settings = {"model": str(model), "maxNewTokens": 1024, "maxPromptTokens": 3000}
    async with start(settings=settings) as editor:
        await editor.until("ready")
        engine = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
        text = "x = 1\n" * 400 + "def f(numbers):\n    "
        editor.open(text)
        asked = editor.ask(len(text), invoked=True)
        await asyncio.sleep(0.05)
        os.kill(engine, signal.SIGKILL)
        answer = await asyncio.wait_for(asyncio.wrap_future(asked), 20)
        assert answer is not None
        assert not answer.items
        status = await editor.until("error")
        assert "engine" in status["message"].lower()

        editor.insert(len(text), "r")
        await asyncio.wait_for(asyncio.wrap_future(editor.ask(len(text) + 1)), 60)
        await editor.until("ready")
        after = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
        assert after not in (None, engine)
