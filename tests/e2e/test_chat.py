"""Chat over the real protocol: streaming, stopping, storage, and completions during an answer."""

import asyncio
from pathlib import Path
from string import ascii_letters

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import URI, Editor, scripted, start

TEXT = "\N{PARTY POPPER} = 1\r\nx = 2\r\n"


async def create_conversation(editor: Editor) -> str:
    return str((await editor.request("starcoder/chat/create"))["id"])


async def test_a_conversation_is_sent_stored_retried_edited_and_deleted(tmp_path: Path) -> None:
    environment = {"STARCODER_LSP_CHATS": str(tmp_path / "chats.sqlite3")}
    async with start(scripted("All is well."), environment=environment) as editor:
        editor.open(TEXT)
        conversation = await create_conversation(editor)
        range_ = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 6}}
        attachments = [{"kind": "selection", "uri": URI, "range": range_}]
        (chip,) = await editor.request("starcoder/chat/attach", {"attachments": attachments})
        assert (chip["label"], chip["language"]) == ("example.py:1-1", "python")
        assert chip["tokens"] > 3
        answer = await editor.request(
            "starcoder/chat/send",
            {
                "conversation": conversation,
                "text": "How is it?",
                "attachments": attachments,
                "partialResultToken": "t1",
            },
        )
        assert "".join(editor.streamed("t1")) == answer["turn"]["content"] == "All is well."
        assert answer["usage"]["completionTokens"] == len("All is well.")
        prompt = (await editor.engine_requests())["texts"][-1]
        assert "\N{PARTY POPPER} = 1\n```\n\nHow is it?" in prompt
        (summary,) = await editor.request("starcoder/chat/list")
        assert summary["title"] == "How is it?"
    # The editor is restarted.
    async with start(scripted("Still well."), environment=environment) as editor:
        stored = await editor.request("starcoder/chat/get", {"conversation": conversation})
        assert [turn["content"] for turn in stored["turns"]] == ["How is it?", "All is well."]
        await editor.request("starcoder/chat/retry", {"conversation": conversation})
        export = await editor.request("starcoder/chat/export", {"conversation": conversation})
        assert "Still well." in export["markdown"]
        assert "All is well." not in export["markdown"]
        first = stored["turns"][0]["id"]
        await editor.request(
            "starcoder/chat/edit",
            {"conversation": conversation, "turn": first, "text": "And now?"},
        )
        await editor.request("starcoder/chat/delete", {"conversation": conversation})
        assert await editor.request("starcoder/chat/list") == []


@pytest.mark.parametrize("by_request", [True, False], ids=["stop", "$/cancelRequest"])
async def test_stopping_an_answer_stops_the_model(by_request: bool) -> None:
    async with start(scripted(ascii_letters * 20, 0.01)) as editor:
        conversation = await create_conversation(editor)
        params = {"conversation": conversation, "text": "Go", "partialResultToken": 7}
        future = editor.client.protocol.send_request("starcoder/chat/send", params, msg_id="m1")
        while len(editor.streamed(7)) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if by_request:
            await editor.request("starcoder/chat/stop", {"conversation": conversation})
            answer = await asyncio.wrap_future(future)
            assert answer.turn.state == "stopped"
        else:
            editor.client.cancel_request(types.CancelParams("m1"))
            with pytest.raises(JsonRpcException, match="cancel"):
                await asyncio.wrap_future(future)
        await asyncio.sleep(0.1)
        assert (await editor.engine_requests())["stoppedEarly"] == 1
        stored = await editor.request("starcoder/chat/get", {"conversation": conversation})
        assert stored["turns"][1]["state"] == "stopped"
        assert ascii_letters.startswith(stored["turns"][1]["content"][:52])


async def test_errors_say_what_is_wrong() -> None:
    async with start(scripted("x")) as editor:
        conversation = await create_conversation(editor)
        for method, params, match in (
            ("send", {"conversation": conversation, "text": " "}, "empty"),
            ("send", {"conversation": "none", "text": "x"}, "no such conversation"),
            ("send", {"text": "x"}, "'conversation'"),
            (
                "send",
                {
                    "conversation": conversation,
                    "text": "x",
                    "attachments": [{"kind": "file", "uri": "file:///no/such.py"}],
                },
                "such.py cannot be read",
            ),
            ("retry", {"conversation": conversation}, "has no message yet"),
        ):
            with pytest.raises(JsonRpcException, match=match):
                await editor.request(f"starcoder/chat/{method}", params)


async def test_a_completion_does_not_wait_for_a_chat_answer(own_engines: Path) -> None:
    """With the real engine and the demo model: the long answer stays complete."""
    async with start(settings={"model": "demo", "eagerness": "eager"}) as editor:
        await editor.wait_for_state("ready")
        editor.open("import os\n\n\ndef main():\n    return \n")
        before = await editor.suggestion(len(editor.text) - 1, invoked=True)
        conversation = await create_conversation(editor)
        question = "Write a Python function `read_lines`. Return the lines of a file."
        chat = asyncio.create_task(
            editor.request(
                "starcoder/chat/send",
                {"conversation": conversation, "text": question, "partialResultToken": 1},
            )
        )
        while not editor.streamed(1):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        editor.insert(0, "\n")
        during = await editor.suggestion(len(editor.text) - 1, invoked=True)
        answer = await chat
        assert during is not None
        assert before is not None
        assert answer["turn"]["content"] == "".join(editor.streamed(1)).strip()
        # The demo model may repeat itself, which ends the answer too.
        assert answer["turn"]["state"] in ("whole", "cut off")


async def test_the_user_learns_once_that_chats_are_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    file.mkdir()
    async with start(
        scripted("All is well."), environment={"STARCODER_LSP_CHATS": str(file)}
    ) as editor:
        for _ in range(2):
            conversation = await create_conversation(editor)
            answer = await editor.request(
                "starcoder/chat/send", {"conversation": conversation, "text": "How is it?"}
            )
            assert answer["turn"]["content"] == "All is well."
        assert len(await editor.request("starcoder/chat/list")) == 2
        (message,) = editor.client.messages
        assert "Chats are not stored until the server is restarted" in message.message
