"""Chat over the real protocol: streamed, stopped, kept, and out of the completions' way."""

import asyncio
from pathlib import Path
from string import ascii_letters

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import URI, Editor, scripted, start

TEXT = "\N{PARTY POPPER} = 1\r\nx = 2\r\n"


async def new_chat(editor: Editor) -> str:
    return str((await editor.request("starcoder/chat/create"))["id"])


async def test_a_conversation_from_beginning_to_end(tmp_path: Path) -> None:
    environment = {"STARCODER_LSP_CHATS": str(tmp_path / "chats.sqlite3")}
    async with start(scripted("All is well."), environment=environment) as editor:
        editor.open(TEXT)
        talk = await new_chat(editor)
        span = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 6}}
        shown = [{"kind": "selection", "uri": URI, "range": span}]
        chips = await editor.request("starcoder/chat/attach", {"attachments": shown})
        assert [(one["label"], one["language"]) for one in chips] == [("example.py:1-1", "python")]
        assert chips[0]["tokens"] > 3
        answer = await editor.request(
            "starcoder/chat/send",
            {
                "conversation": talk,
                "text": "How is it?",
                "attachments": shown,
                "partialResultToken": "t1",
            },
        )
        assert "".join(editor.streamed("t1")) == answer["turn"]["content"] == "All is well."
        assert answer["usage"]["completionTokens"] == len("All is well.")
        sent = (await editor.request("test/requests"))["texts"][-1]
        assert "\N{PARTY POPPER} = 1\n```\n\nHow is it?" in sent
        assert [one["title"] for one in await editor.request("starcoder/chat/list")] == [
            "How is it?"
        ]
    async with start(scripted("Still well."), environment=environment) as editor:  # a reload
        kept = await editor.request("starcoder/chat/get", {"conversation": talk})
        assert [one["content"] for one in kept["turns"]] == ["How is it?", "All is well."]
        await editor.request("starcoder/chat/retry", {"conversation": talk})
        markdown = (await editor.request("starcoder/chat/export", {"conversation": talk}))[
            "markdown"
        ]
        assert "Still well." in markdown
        assert "All is well." not in markdown
        first = kept["turns"][0]["id"]
        await editor.request(
            "starcoder/chat/edit", {"conversation": talk, "turn": first, "text": "And now?"}
        )
        await editor.request("starcoder/chat/delete", {"conversation": talk})
        assert await editor.request("starcoder/chat/list") == []


@pytest.mark.parametrize("by_request", [True, False], ids=["stop", "$/cancelRequest"])
async def test_stopping_stops_the_model(by_request: bool) -> None:
    async with start(scripted(ascii_letters * 20, 0.01)) as editor:
        talk = await new_chat(editor)
        params = {"conversation": talk, "text": "Go", "partialResultToken": 7}
        asked = editor.client.protocol.send_request("starcoder/chat/send", params, msg_id="m1")
        while len(editor.streamed(7)) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if by_request:
            await editor.request("starcoder/chat/stop", {"conversation": talk})
            answer = await asyncio.wrap_future(asked)
            assert answer.turn.state == "stopped"
        else:
            editor.client.cancel_request(types.CancelParams("m1"))
            with pytest.raises(JsonRpcException, match="cancel"):
                await asyncio.wrap_future(asked)
        await asyncio.sleep(0.1)
        counts = await editor.request("test/requests")
        assert counts["stoppedEarly"] == 1
        kept = await editor.request("starcoder/chat/get", {"conversation": talk})
        assert kept["turns"][1]["state"] == "stopped"
        assert ascii_letters.startswith(kept["turns"][1]["content"][:52])


async def test_errors_say_what_to_do() -> None:
    async with start(scripted("x")) as editor:
        talk = await new_chat(editor)
        for method, params, match in (
            ("send", {"conversation": talk, "text": " "}, "empty"),
            ("send", {"conversation": "none", "text": "x"}, "no such conversation"),
            ("send", {"text": "x"}, "'conversation'"),
            (
                "send",
                {
                    "conversation": talk,
                    "text": "x",
                    "attachments": [{"kind": "file", "uri": "file:///no/such.py"}],
                },
                "such.py cannot be read",
            ),
            ("retry", {"conversation": talk}, "Nothing was asked"),
        ):
            with pytest.raises(JsonRpcException, match=match):
                await editor.request(f"starcoder/chat/{method}", params)


async def test_a_completion_does_not_wait_for_a_chat(own_engines: Path) -> None:
    """With the real engine and the demo model: asked during a long answer, and none of it lost."""
    async with start(settings={"model": "demo", "eagerness": "eager"}) as editor:
        await editor.until("ready")
        editor.open("import os\n\n\ndef main():\n    return \n")
        alone = await editor.suggestion(len(editor.text) - 1, invoked=True)
        talk = await new_chat(editor)
        question = "Write a Python function `read_lines`. Return the lines of a file."
        asking = asyncio.create_task(
            editor.request(
                "starcoder/chat/send",
                {"conversation": talk, "text": question, "partialResultToken": 1},
            )
        )
        while not editor.streamed(1):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        editor.insert(0, "\n")
        during = await editor.suggestion(len(editor.text) - 1, invoked=True)
        answer = await asking
        assert during is not None
        assert alone is not None
        assert answer["turn"]["content"] == "".join(editor.streamed(1)).strip()
        assert answer["usage"]["completionTokens"] > 0
