"""A model for chat alone: real engines, each with its own model, over the real protocol."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from benchmarks.engine_metrics import engine_values
from benchmarks.robustness.processes import engines_in
from chat.asker import Asker, ChatSettings
from chat.tasks.explain import explain
from chat.tasks.target import Target
from engine.client.engine_key import engine_key
from engine.local import LocalEngine
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.e2e.client import URI, Editor, start

pytestmark = pytest.mark.usefixtures("own_engines")

CODE = "def double(x):\n    return x * 2\n\n\ny = \n"
EXPLAIN = {
    "task": "explain",
    "uri": URI,
    "range": {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 4}},
}


@pytest.fixture(scope="module")
def main_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The examples of the plain chat format need more than 512 positions.
    return make_checkpoint(tmp_path_factory.mktemp("main-model"), seed=0, n_positions=2048)


@pytest.fixture(scope="module")
def chat_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("chat-model"), seed=1, n_positions=2048)


def settings_for(model: Path, **more: Any) -> dict[str, Any]:
    settings = {"model": str(model), "device": "cpu", "chatMaxNewTokens": 32}
    return {**settings, "eagerness": "eager", **more}


async def requests_of(runtime: Path, model: Path) -> int:
    """Return the number of requests that the engine of a model has computed."""
    socket = runtime / f"engine-{engine_key(EngineSettings(model=str(model), device='cpu'))}.sock"
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as client:
        return engine_values((await client.get("/metrics")).text)["starcoder_engine_requests_total"]


async def settled_requests_of(runtime: Path, model: Path) -> int:
    """Return the number of requests when no prefetch follows any more."""
    before, now = -1, await requests_of(runtime, model)
    while before != now:
        await asyncio.sleep(0.5)
        before, now = now, await requests_of(runtime, model)
    return now


async def explanation(model: Path) -> str:
    """Return the explanation by this model alone."""
    engine = LocalEngine(EngineSettings(model=str(model), device="cpu"))
    target = Target("file:///work-space/example.py", None, "python", CODE, 4, 4)
    proposal = await explain(target, Asker(engine, ChatSettings(max_new_tokens=32)))
    await engine.aclose()
    return proposal.note


async def ask(editor: Editor) -> Any:
    conversation = (await editor.request("starcoder/chat/create"))["id"]
    params = {"conversation": conversation, "text": "How is it?", "partialResultToken": 1}
    return await editor.request("starcoder/chat/send", params)


async def complete(editor: Editor) -> None:
    editor.open(CODE)
    await editor.suggestion(len(CODE) - 1, invoked=True)


async def wait_for_chat_state(editor: Editor, state: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (editor.statuses[-1]["chat"] or {}).get("state") != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    chat: dict[str, Any] = editor.statuses[-1]["chat"]
    return chat


def change_settings(editor: Editor, settings: dict[str, Any]) -> None:
    editor.client.set_configuration({"starcoder": settings})
    params = types.DidChangeConfigurationParams({"starcoder": settings})
    editor.client.workspace_did_change_configuration(params)


async def test_chat_and_completion_use_their_own_models_and_engines(
    main_checkpoint: Path, chat_checkpoint: Path, own_engines: Path
) -> None:
    settings = settings_for(main_checkpoint, chatModel=str(chat_checkpoint))
    async with start(settings=settings) as editor:
        await editor.wait_for_state("ready")
        await complete(editor)
        status = editor.statuses[-1]
        assert status["model"] == str(main_checkpoint)
        assert (status["chat"]["model"], status["chat"]["state"]) == (
            str(chat_checkpoint),
            "stopped",
        )
        assert len(engines_in(own_engines)) == 1  # the second starts with the first question
        num_completions = await settled_requests_of(own_engines, main_checkpoint)
        assert num_completions > 0

        proposal = await editor.request("starcoder/task", EXPLAIN)
        assert proposal["note"] == await explanation(chat_checkpoint)
        assert proposal["note"] != await explanation(main_checkpoint)
        assert (await ask(editor))["usage"]["completionTokens"] > 0
        assert len(engines_in(own_engines)) == 2
        chat = await wait_for_chat_state(editor, "ready")
        assert (chat["model"], chat["device"]) == (str(chat_checkpoint), "cpu")
        assert editor.statuses[-1]["model"] == str(main_checkpoint)
        assert await requests_of(own_engines, main_checkpoint) == num_completions
        num_chats = await requests_of(own_engines, chat_checkpoint)
        assert num_chats == 2

        # Fill-in-the-middle stays with the model for completions.
        with suppress(JsonRpcException):  # random weights may write no docstring
            await editor.request("starcoder/task", {**EXPLAIN, "task": "document"})
        assert await requests_of(own_engines, main_checkpoint) > num_completions
        assert await requests_of(own_engines, chat_checkpoint) == num_chats
        info = await editor.request("starcoder/debugInfo")
        assert {info["engine"]["pid"], info["chatEngine"]["pid"]} == {
            process.pid for process in engines_in(own_engines)
        }


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "the same model"])
async def test_one_model_for_both_runs_in_one_engine(
    main_checkpoint: Path, own_engines: Path, is_empty: bool
) -> None:
    chat_model = "" if is_empty else str(main_checkpoint)
    async with start(settings=settings_for(main_checkpoint, chatModel=chat_model)) as editor:
        await editor.wait_for_state("ready")
        await ask(editor)
        assert len(engines_in(own_engines)) == 1
        assert editor.statuses[-1]["chat"] is None
        assert (await editor.request("starcoder/debugInfo"))["chatEngine"] is None


async def test_a_wrong_chat_model_fails_the_chat_alone(
    main_checkpoint: Path, tmp_path: Path
) -> None:
    settings = settings_for(main_checkpoint, chatModel=str(tmp_path / "nothing"))
    async with start(settings=settings) as editor:
        await editor.wait_for_state("ready")
        for _ in range(2):
            with pytest.raises(JsonRpcException, match="There is no directory"):
                await ask(editor)
        chat = await wait_for_chat_state(editor, "error")
        assert "There is no directory" in chat["message"]
        await complete(editor)
        assert editor.statuses[-1]["state"] == "ready"
        assert editor.statuses[-1]["why"] != "the engine failed"
        assert editor.client.messages == []  # the chat shows the error


async def test_a_wrong_model_for_completions_leaves_the_chat_working(
    chat_checkpoint: Path, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "nothing", chatModel=str(chat_checkpoint))
    async with start(settings=settings) as editor:
        await editor.wait_for_state("error")
        assert (await ask(editor))["usage"]["completionTokens"] > 0
        assert (await wait_for_chat_state(editor, "ready"))["model"] == str(chat_checkpoint)
        assert editor.statuses[-1]["state"] == "error"


async def test_a_changed_chat_model_is_used_without_a_restart(
    main_checkpoint: Path, chat_checkpoint: Path, own_engines: Path
) -> None:
    async with start(settings=settings_for(main_checkpoint)) as editor:
        await editor.wait_for_state("ready")
        editor.open(CODE)
        own = (await editor.request("starcoder/task", EXPLAIN))["note"]
        engine = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]

        change_settings(editor, settings_for(main_checkpoint, chatModel=str(chat_checkpoint)))
        running = editor.request_completion(len(CODE) - 1, invoked=True)
        await wait_for_chat_state(editor, "stopped")
        assert await asyncio.wait_for(asyncio.wrap_future(running), 10) is not None
        other = (await editor.request("starcoder/task", EXPLAIN))["note"]
        assert other != own
        # The engine of completions was neither restarted nor joined by a second one of its model.
        assert (await editor.request("starcoder/debugInfo"))["engine"]["pid"] == engine
        assert len(engines_in(own_engines)) == 2

        change_settings(editor, settings_for(main_checkpoint, chatModel=""))
        async with asyncio.timeout(10):
            while editor.statuses[-1]["chat"] is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await editor.request("starcoder/task", EXPLAIN))["note"] == own


async def test_an_engine_leaves_memory_for_the_other_model_and_both_exit(
    main_checkpoint: Path, chat_checkpoint: Path, own_engines: Path
) -> None:
    settings = settings_for(main_checkpoint, chatModel=str(chat_checkpoint), idleTimeoutSeconds=4)
    async with start(settings=settings) as editor:
        await editor.wait_for_state("ready")
        (main,) = engines_in(own_engines)
        assert f"--reserve-for={chat_checkpoint}" in main.cmdline()
        await complete(editor)
        await ask(editor)
        (second,) = [engine for engine in engines_in(own_engines) if engine.pid != main.pid]
        # The first model is in memory already, so nothing is reserved for it.
        assert not any("--reserve-for" in argument for argument in second.cmdline())
        await asyncio.to_thread(psutil.wait_procs, [main, second], 20)
        assert engines_in(own_engines) == []
        assert (await ask(editor))["usage"]["completionTokens"] > 0
