"""A server at `starcoder.engineUrl` that fails and returns, as an editor sees it.

The language server is the real one, over stdio, with its real delays.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.e2e.client import Editor, start
from tests.remote_server import Server, response, running, write_tokenizer

SOON_S = 15.0
"""Longest time in which a fault must be shown, without any key."""


@asynccontextmanager
async def editing(
    server: Server, folder: Path, environment: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Editor]:
    settings = {"engineUrl": server.url, "tokenizer": str(folder), "debounceMs": 0, **settings}
    async with start(settings=settings, environment=environment) as editor:
        editor.open("x = ")
        yield editor


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "model")


async def status(
    editor: Editor, condition: Callable[[dict[str, Any]], object], seconds: float = SOON_S
) -> dict[str, Any]:
    """Wait until the last status fulfils a condition; return it."""
    async with asyncio.timeout(seconds):
        while not editor.statuses or not condition(editor.statuses[-1]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return editor.statuses[-1]


async def type_keys(editor: Editor, count: int) -> list[str | None]:
    """Type keys, each of which asks for a suggestion."""
    answers = []
    for _ in range(count):
        editor.insert(len(editor.text), "ab"[len(editor.text) % 2])
        answers.append(await editor.suggestion(len(editor.text)))
    return answers


def messages(editor: Editor) -> list[str]:
    return [message.message for message in editor.client.messages]


async def test_a_server_that_stops_is_shown_without_a_key_and_may_return(
    server: Server, folder: Path
) -> None:
    async with editing(server, folder) as editor:
        assert (await editor.wait_for_state("ready"))["model"] == "one"
        assert await editor.suggestion(4) == "1"
        await server.stop()
        failed = await status(editor, lambda last: last["state"] == "error")
        assert "starcoder.engineUrl" in failed["message"]
        await type_keys(editor, 30)
        assert len(messages(editor)) == 1
        server.requests.clear()
        server.models = [{"id": "two", "max_model_len": 99}]
        await server.start()
        assert (await status(editor, lambda last: last["state"] == "ready"))["model"] == "two"
        editor.insert(len(editor.text), "\ny = ")
        assert await editor.suggestion(len(editor.text)) == "1"
        assert server.bodies[-1]["model"] == "two"
        assert len(messages(editor)) == 1


async def test_the_status_says_what_a_server_does_not_report(server: Server, folder: Path) -> None:
    server.models = [{"id": "one"}]
    async with editing(server, folder) as editor:
        ready = await editor.wait_for_state("ready")
        assert "2,048 tokens are assumed. Set starcoder.contextWindow" in ready["message"]
        assert "log-probabilities" not in ready["message"]
        server.text = "12"
        assert await editor.suggestion(4) == "12"
        last = await status(editor, lambda last: "no log-probabilities" in last["message"])
        assert last["state"] == "ready"
        assert messages(editor) == []
    async with editing(server, folder, contextWindow=512) as editor:
        assert "assumed" not in (await editor.wait_for_state("ready"))["message"]


async def test_a_server_that_hangs_is_shown_without_a_key(server: Server, folder: Path) -> None:
    async with editing(server, folder) as editor:
        await editor.wait_for_state("ready")
        server.faults["*"] = "hang"
        failed = await status(editor, lambda last: last["state"] == "error")
        assert "does not answer" in failed["message"]
        num_requests = len(server.requests)
        await type_keys(editor, 50)
        assert len(server.requests) <= num_requests + 2
        server.faults.clear()
        await status(editor, lambda last: last["state"] == "ready", 30)
        editor.insert(len(editor.text), "\ny = ")
        assert await editor.suggestion(len(editor.text)) == "1"


async def test_an_overloaded_server_gets_no_request_per_key(server: Server, folder: Path) -> None:
    async with editing(server, folder) as editor:
        await editor.wait_for_state("ready")
        server.faults["/v1/completions"] = response(429, {"error": "slow"}, Retry_After="4")
        assert await editor.suggestion(4) is None
        failed = await status(editor, lambda last: last["state"] == "error")
        assert "429" in failed["message"]
        assert "starcoder.engineToken" in failed["message"]
        started = time.monotonic()
        num_bodies = len(server.bodies)
        await type_keys(editor, 40)
        assert await editor.suggestion(len(editor.text), invoked=True) is None
        assert time.monotonic() - started < 4, "the machine is too slow for this test"
        assert len(server.bodies) == num_bodies
        assert editor.statuses[-1]["state"] == "error"
        server.faults.clear()
        await status(editor, lambda last: last["state"] == "ready")
        assert time.monotonic() - started > 3
        editor.insert(len(editor.text), "\ny = ")
        assert await editor.suggestion(len(editor.text)) == "1"
        assert len(messages(editor)) == 1


async def test_a_server_that_was_never_there_shows_no_popup(folder: Path) -> None:
    async with running() as server:
        await server.stop()
        async with editing(server, folder) as editor:
            failed = await status(editor, lambda last: last["state"] == "error")
            assert "nothing listens there" in failed["message"]
            await type_keys(editor, 10)
            assert messages(editor) == []
            # A user who asks on purpose sees why nothing comes, once.
            for _ in range(3):
                assert await editor.suggestion(len(editor.text), invoked=True) is None
            assert len(messages(editor)) == 1
            await server.start()
            await status(editor, lambda last: last["state"] == "ready")
            editor.insert(len(editor.text), "\ny = ")
            assert await editor.suggestion(len(editor.text)) == "1"


async def test_the_status_is_never_ready_while_the_server_fails(
    server: Server, folder: Path
) -> None:
    server.faults["*"] = response(401, {"error": "no"})
    async with editing(server, folder) as editor:
        failed = await status(editor, lambda last: last["state"] == "error")
        assert "starcoder.engineToken" in failed["message"]
        for enabled in (False, True):
            settings = {"starcoder": {"enabled": enabled, "engineUrl": server.url}}
            settings["starcoder"]["tokenizer"] = str(folder)
            await change_settings(editor, settings)
            expected = "error" if enabled else "disabled"
            await status(editor, lambda last, expected=expected: last["state"] == expected)
        info = await editor.request("starcoder/debugInfo")
        assert info["engine"]["state"] == "failed"
        assert "ready" not in {each["state"] for each in editor.statuses}


async def change_settings(editor: Editor, settings: dict[str, Any]) -> None:
    editor.client.set_configuration(settings)
    editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings))


async def test_the_model_that_the_setting_names_is_used_for_everything(
    server: Server, folder: Path
) -> None:
    server.models = [{"id": "one"}, {"id": "two", "max_model_len": 99}]
    async with editing(server, folder, engineModel="two") as editor:
        assert (await editor.wait_for_state("ready"))["model"] == "two"
        assert await editor.suggestion(4) == "1"
        assert server.bodies[-1]["model"] == "two"
    async with editing(server, folder, engineModel="poet") as editor:
        failed = await status(editor, lambda last: last["state"] == "error")
        assert "starcoder.engineModel" in failed["message"]
        assert "(one, two)" in failed["message"]


@pytest.mark.parametrize("setting", [None, "from-setting"])
async def test_the_token_comes_from_the_setting_or_the_environment(
    server: Server, folder: Path, setting: str | None
) -> None:
    environment = {"STARCODER_LSP_ENGINE_TOKEN": "from-environment\n"}
    async with editing(server, folder, environment, engineToken=setting) as editor:
        await editor.wait_for_state("ready")
        info = await editor.request("starcoder/debugInfo")
        token = setting or "from-environment"
        assert f"Authorization: Bearer {token}".lower() in server.headers[-1].lower()
        assert token not in str(info)
        assert token not in str(editor.statuses)


async def test_the_status_of_the_chats_model_follows_the_server(
    server: Server, folder: Path
) -> None:
    server.models.append({"id": "talk", "max_model_len": 4096})
    options = {"chatModel": "talk", "chatTokenizer": str(folder)}
    async with editing(server, folder, **options) as editor:
        await status(editor, lambda last: last["chat"] and last["chat"]["state"] == "stopped")
        conversation = (await editor.request("starcoder/chat/create"))["id"]
        params = {"conversation": conversation, "text": "Hello"}
        await editor.request("starcoder/chat/send", params)
        await status(editor, lambda last: last["chat"]["state"] == "ready")
        server.models.pop()
        failed = await status(editor, lambda last: last["chat"]["state"] == "error")
        assert "starcoder.chatModel" in failed["chat"]["message"]
        assert failed["state"] == "ready"


async def test_the_status_says_what_the_server_of_the_chats_model_does_not_report(
    server: Server, folder: Path
) -> None:
    server.models.append({"id": "talk"})
    options = {"chatModel": "talk", "chatTokenizer": str(folder)}
    async with editing(server, folder, **options) as editor:
        conversation = (await editor.request("starcoder/chat/create"))["id"]
        server.text = "words"
        for _ in range(2):  # the answer itself does not hide the note
            params = {"conversation": conversation, "text": "Hello"}
            await editor.request("starcoder/chat/send", params)
            last = await status(editor, lambda last: last["chat"]["state"] == "ready")
            assert "2,048 tokens are assumed" in last["chat"]["message"]
        last = await status(editor, lambda last: "no token ids" in last["chat"]["message"])
        assert last["chat"]["state"] == "ready"
        assert last["message"] == ""  # the note is not that of completions
        assert messages(editor) == []
