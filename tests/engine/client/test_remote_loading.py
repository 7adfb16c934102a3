"""A server at a URL that is loading its model."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.api import EngineState
from engine.client.remote import RemoteEngine
from engine.client.remote_model import RemoteModel
from engine.scripted import ScriptedEngine
from tests.engine.client.watching import text_of, until, watched
from tests.engine.server.serving import serving
from tests.remote_server import Server, response

pytestmark = pytest.mark.usefixtures("short_times")


async def test_llama_cpp_lists_a_model_that_it_is_loading(server: Server, folder: Path) -> None:
    server.models = [{"id": "one", "owned_by": "llamacpp"}]
    loading = response(503, {"error": {"message": "Loading model", "code": 503}})
    server.faults["/health"] = loading
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.LOADING)
        task = asyncio.create_task(engine.info())
        await asyncio.sleep(0.3)
        assert not task.done()
        server.faults["*"] = loading  # older versions do not even list it
        await asyncio.sleep(0.3)
        assert reports[-1].state is EngineState.LOADING
        server.faults = {"/health": response(200, {"status": "ok"})}
        assert (await task).model == "one"


@pytest.mark.parametrize("state", [EngineState.STARTING, EngineState.LOADING])
async def test_our_own_server_reports_that_it_loads(state: EngineState) -> None:
    is_loaded, num_waiting, most_waiting = asyncio.Event(), 0, 0

    class Loading(ScriptedEngine):
        async def info(self) -> Any:
            nonlocal num_waiting, most_waiting
            num_waiting += 1
            most_waiting = max(most_waiting, num_waiting)
            try:
                await is_loaded.wait()
            finally:
                num_waiting -= 1
            return await super().info()

        async def health(self) -> Any:
            from engine.api import Health

            if is_loaded.is_set():
                return await super().health()
            return Health(state, "reading weights", 0.5, 7)

    async with serving(Loading(lambda _: "1"), token="secret") as endpoint:
        engine = RemoteEngine(endpoint)
        async with watched(engine) as reports:
            await until(lambda: reports and reports[-1].state is state)
            assert (reports[-1].detail, reports[-1].progress) == ("reading weights", 0.5)
            assert (await engine.health()).state is state
            await asyncio.sleep(1)  # several questions, each of which ends
            assert most_waiting <= 2
            is_loaded.set()
            await until(lambda: reports[-1].state is EngineState.READY)
            assert await text_of(engine) == "1"
