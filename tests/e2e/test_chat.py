"""Chat over the real protocol: streaming, stopping, storage, and completions during an answer."""

import asyncio
import os
import signal
import sqlite3
from pathlib import Path
from string import ascii_letters
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import URI, Editor, scripted, start

TEXT = "\N{PARTY POPPER} = 1\r\nx = 2\r\n"


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a file of conversations of its own."""
    monkeypatch.setenv("STARCODER_LSP_CHATS", str(tmp_path / "own.sqlite3"))


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


# Nothing that was typed is lost.

NO_ENGINE = {"engineUrl": "http://127.0.0.1:9"}


async def ask(editor: Editor, conversation: str, text: str, **more: Any) -> Any:
    params = {"conversation": conversation, "text": text, **more}
    return await editor.request("starcoder/chat/send", params)


async def turns_of(editor: Editor, conversation: str) -> list[tuple[str, str, str]]:
    stored = await editor.request("starcoder/chat/get", {"conversation": conversation})
    return [(turn["role"], turn["content"], turn["state"]) for turn in stored["turns"]]


async def test_a_message_without_an_engine_is_kept_and_answered_after_a_restart(
    tmp_path: Path,
) -> None:
    environment = {"STARCODER_LSP_CHATS": str(tmp_path / "chats.sqlite3")}
    async with start(settings=NO_ENGINE, environment=environment) as editor:
        conversation = await create_conversation(editor)
        with pytest.raises(JsonRpcException, match=r"127\.0\.0\.1:9"):
            await ask(editor, conversation, "How is it?")
        assert await turns_of(editor, conversation) == [("user", "How is it?", "whole")]
        (summary,) = await editor.request("starcoder/chat/list")
        assert summary["title"] == "How is it?"
    async with start(scripted("All is well."), environment=environment) as editor:
        assert await turns_of(editor, conversation) == [("user", "How is it?", "whole")]
        answer = await editor.request("starcoder/chat/retry", {"conversation": conversation})
        assert answer["turn"]["content"] == "All is well."
        assert answer["turn"]["model"] == "scripted"
        assert [turn[1] for turn in await turns_of(editor, conversation)] == [
            "How is it?",
            "All is well.",
        ]


async def test_a_retry_without_an_engine_keeps_the_answer(tmp_path: Path) -> None:
    environment = {"STARCODER_LSP_CHATS": str(tmp_path / "chats.sqlite3")}
    async with start(scripted("All is well."), environment=environment) as editor:
        conversation = await create_conversation(editor)
        await ask(editor, conversation, "How is it?")
        (question, _) = (
            await editor.request("starcoder/chat/get", {"conversation": conversation})
        )["turns"]
    async with start(settings=NO_ENGINE, environment=environment) as editor:
        with pytest.raises(JsonRpcException):
            await editor.request("starcoder/chat/retry", {"conversation": conversation})
        assert [turn[1] for turn in await turns_of(editor, conversation)] == [
            "How is it?",
            "All is well.",
        ]
        params = {"conversation": conversation, "turn": question["id"], "text": "And now?"}
        with pytest.raises(JsonRpcException):
            await editor.request("starcoder/chat/edit", params)
        assert [turn[1] for turn in await turns_of(editor, conversation)] == ["And now?"]


async def test_a_killed_server_has_stored_the_question_and_most_of_the_answer(
    tmp_path: Path,
) -> None:
    file = tmp_path / "chats.sqlite3"
    environment = {"STARCODER_LSP_CHATS": str(file)}
    async with start(scripted(ascii_letters * 40, 0.01), environment=environment) as editor:
        conversation = await create_conversation(editor)
        params = {"conversation": conversation, "text": "Go", "partialResultToken": 1}
        editor.client.protocol.send_request("starcoder/chat/send", params)
        async with asyncio.timeout(20):
            while _stored(file)[1:] == []:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert editor.client._server is not None
        editor.client._server.kill()
        await editor.client._server.wait()
        editor.client._stop_event.set()
    question, answer = _stored(file)
    assert question == ("user", "Go", "whole")
    assert answer[2] == "failed"
    assert len(answer[1]) > 20
    assert (ascii_letters * 40).startswith(answer[1])


def _stored(file: Path) -> list[tuple[str, str, str]]:
    with sqlite3.connect(file) as database:
        return database.execute("select role, content, state from turns order by rowid").fetchall()


async def test_an_engine_that_is_killed_leaves_the_partial_answer(own_engines: Path) -> None:
    """With the real engine and the demo model."""
    async with start(settings={"model": "demo"}) as editor:
        await editor.wait_for_state("ready")
        pid = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
        conversation = await create_conversation(editor)
        question = "Write a Python function `read_lines`. Return the lines of a file."
        sending = asyncio.create_task(ask(editor, conversation, question, partialResultToken=1))
        while not editor.streamed(1):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(JsonRpcException):
            await asyncio.wait_for(sending, 5)
        asked, answer = await turns_of(editor, conversation)
        assert asked == ("user", question, "whole")
        assert answer[2] == "failed"
        assert answer[1] == "".join(editor.streamed(1)).strip()
        again = await editor.request("starcoder/chat/retry", {"conversation": conversation})
        assert again["turn"]["state"] in ("whole", "cut off")


async def test_an_answer_can_be_stopped_before_its_first_token() -> None:
    async with start(scripted("never", 60)) as editor:
        conversation = await create_conversation(editor)
        sending = asyncio.create_task(ask(editor, conversation, "Go"))
        await asyncio.sleep(0.3)
        await editor.request("starcoder/chat/stop", {"conversation": conversation})
        answer = await asyncio.wait_for(sending, 5)
        assert (answer["turn"]["content"], answer["turn"]["state"]) == ("", "stopped")
        assert await turns_of(editor, conversation) == [("user", "Go", "whole")]


async def test_messages_that_cannot_be_sent_change_nothing() -> None:
    async with start(scripted("x")) as editor:
        conversation = await create_conversation(editor)
        for text, match in (("/test it", "/tests"), ("x" * 200_000, "200"), ("/explain", "code")):
            with pytest.raises(JsonRpcException, match=match):
                await ask(editor, conversation, text)
        assert await turns_of(editor, conversation) == []
        assert await editor.request("starcoder/chat/list") == []
        await ask(editor, conversation, "Now?")
        (summary,) = await editor.request("starcoder/chat/list")
        assert summary["title"] == "Now?"


async def test_two_messages_for_one_conversation_are_never_mixed() -> None:
    async with start(scripted(ascii_letters, 0.005)) as editor:
        first, other = [await create_conversation(editor) for _ in range(2)]
        results = await asyncio.gather(
            ask(editor, first, "A", partialResultToken="a"),
            ask(editor, first, "B", partialResultToken="b"),
            ask(editor, other, "C", partialResultToken="c"),
            return_exceptions=True,
        )
        assert [isinstance(result, JsonRpcException) for result in results] == [False, True, False]
        assert "".join(editor.streamed("a")) == "".join(editor.streamed("c")) == ascii_letters
        assert editor.streamed("b") == []
        assert [turn[1] for turn in await turns_of(editor, first)] == ["A", ascii_letters]
        assert [turn[1] for turn in await turns_of(editor, other)] == ["C", ascii_letters]


@pytest.mark.parametrize("method", ["delete", "clear"])
async def test_a_conversation_can_be_deleted_while_it_is_answered(method: str) -> None:
    async with start(scripted(ascii_letters * 20, 0.01)) as editor:
        conversation = await create_conversation(editor)
        sending = asyncio.create_task(ask(editor, conversation, "Go", partialResultToken=1))
        while not editor.streamed(1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await editor.request(f"starcoder/chat/{method}", {"conversation": conversation})
        assert (await sending)["turn"]["state"] == "stopped"
        assert await editor.request("starcoder/chat/list") == []
        with pytest.raises(JsonRpcException, match="no such conversation"):
            await editor.request("starcoder/chat/get", {"conversation": conversation})


# Continue, rename and search.


async def test_a_cut_off_answer_is_continued_in_place() -> None:
    settings = {"chatMaxNewTokens": 20}
    async with start(scripted(ascii_letters), settings=settings) as editor:
        conversation = await create_conversation(editor)
        answer = await ask(editor, conversation, "Go")
        assert answer["turn"]["state"] == "cut off"
        params = {"conversation": conversation, "partialResultToken": "more"}
        more = await editor.request("starcoder/chat/continue", params)
        assert more["turn"]["id"] == answer["turn"]["id"]
        assert more["turn"]["content"] == ascii_letters[:20] * 2
        assert "".join(editor.streamed("more")) == ascii_letters[:20]
        prompt = (await editor.engine_requests())["texts"][-1]
        assert prompt.endswith(f"Human: Go\n\nAssistant: {ascii_letters[:20]}")
        assert await turns_of(editor, conversation) == [
            ("user", "Go", "whole"),
            ("assistant", ascii_letters[:20] * 2, "cut off"),
        ]


async def test_only_an_unfinished_answer_can_be_continued() -> None:
    async with start(scripted("Done.")) as editor:
        conversation = await create_conversation(editor)
        params = {"conversation": conversation}
        with pytest.raises(JsonRpcException, match="no answer to continue"):
            await editor.request("starcoder/chat/continue", params)
        await ask(editor, conversation, "Go")
        with pytest.raises(JsonRpcException, match="is complete"):
            await editor.request("starcoder/chat/continue", params)


async def test_conversations_are_renamed_and_found() -> None:
    async with start(scripted("Die Größe ist 5.")) as editor:
        conversations = []
        for text in ("How large is it?", "How SMALL is it?"):
            conversations.append(await create_conversation(editor))
            await ask(editor, conversations[-1], text)
        params = {"conversation": conversations[0], "title": " Sizes\n of things "}
        assert await editor.request("starcoder/chat/rename", params) == {"title": "Sizes of things"}
        for query, expected in (
            ("", [1, 0]),
            ("sizes", [0]),
            ("GRÖSSE", [1, 0]),
            ("large größe", [0]),
            ("small it", [1]),
            ("small large", []),
            ("100%", []),
        ):
            listed = await editor.request("starcoder/chat/list", {"query": query})
            assert [each["id"] for each in listed] == [conversations[index] for index in expected]
        for params, match in (
            ({"conversation": conversations[0], "title": " "}, "title is empty"),
            ({"conversation": "none", "title": "x"}, "no such conversation"),
        ):
            with pytest.raises(JsonRpcException, match=match):
                await editor.request("starcoder/chat/rename", params)
        await ask(editor, conversations[0], "And?")
        assert (await editor.request("starcoder/chat/list"))[0]["title"] == "Sizes of things"


# What a message attaches.

FUNCTIONS = "import os\n\n\ndef one():\n    return 1\n\n\ndef two():\n    return 2\n"


def cursor(line: int, character: int = 0, end: tuple[int, int] | None = None) -> dict[str, Any]:
    last = end or (line, character)
    return {
        "uri": URI,
        "range": {
            "start": {"line": line, "character": character},
            "end": {"line": last[0], "character": last[1]},
        },
    }


@pytest.mark.parametrize(
    ("text", "place", "label"),
    [
        ("/explain", cursor(4, 6), "example.py:4-5"),
        ("/tests please", cursor(7), "example.py:8-9"),
        ("/review", cursor(0, 0, (4, 12)), "example.py:1-5"),
        ("/fix", cursor(0, 0, (1, 0)), "example.py:1-1"),
        ("/document", cursor(3, 0, (3, 0)), "example.py:4-5"),
        ("/explain this:\n```\nx = 1\n```", cursor(4), None),
        ("/explain decorators", cursor(1), None),
        ("What does this do?", cursor(4), None),
        ("/usr/bin is where?", cursor(4), None),
    ],
)
async def test_a_slash_command_uses_the_selection_or_function(
    text: str, place: dict[str, Any], label: str | None
) -> None:
    async with start(scripted("Fine.")) as editor:
        editor.open(FUNCTIONS)
        conversation = await create_conversation(editor)
        chips = await editor.request("starcoder/chat/attach", {"text": text, **place})
        await ask(editor, conversation, text, **place)
        stored = await editor.request("starcoder/chat/get", {"conversation": conversation})
        labels = [each["label"] for each in stored["turns"][0]["attachments"]]
        assert labels == [chip["label"] for chip in chips] == ([label] if label else [])
        assert [chip["source"] for chip in chips] == ["cursor"] * len(labels)


async def test_a_slash_command_prefers_what_is_attached() -> None:
    async with start(scripted("Fine.")) as editor:
        editor.open(FUNCTIONS)
        conversation = await create_conversation(editor)
        selection = {"kind": "selection", **cursor(7, 0, (8, 12))}
        await ask(editor, conversation, "/explain", attachments=[selection], **cursor(4))
        prompt = (await editor.engine_requests())["texts"][-1]
        assert "def two" in prompt
        assert "def one" not in prompt
        # In a conversation, `/explain` may be about what was said before.
        await ask(editor, conversation, "/explain", **cursor(1))


async def test_a_slash_command_without_code_says_what_it_needs() -> None:
    async with start(scripted("Fine.")) as editor:
        editor.open(FUNCTIONS)
        conversation = await create_conversation(editor)
        for place in (cursor(1), {}, {**cursor(1), "uri": "file:///not/open.py"}):
            with pytest.raises(JsonRpcException, match="/fix needs code"):
                await ask(editor, conversation, "/fix", **place)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("What is in @cart.py?", ["@cart.py"]),
        ("Compare (@src/cart.py), @util.py.", ["@src/cart.py", "@util.py"]),
        ('See @"my notes.txt" and @[id].ts', ['@"my notes.txt"', "@[id].ts"]),
        ("@same.py twice", []),
        ("me@cart.py @dataclass @nothing.py @ @src @../outside.py @/etc/passwd @link.py", []),
        ("`@cart.py`\n```\n@util.py\n```", []),
        ("@Größe.py.", ["@Größe.py"]),
        ("@cart.py and @src/cart.py", ["@cart.py"]),
        ("@.env and @secrets.py", []),  # excluded by default
    ],
)
async def test_a_mentioned_file_is_attached_and_the_word_stays(
    tmp_path: Path, text: str, mentions: list[str]
) -> None:
    folder = tmp_path / "Jörg's [new] + project"
    for name in ("src/cart.py", "util.py", "my notes.txt", "app/[id].ts", "a/same.py", "b/same.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    (folder / "Größe.py").write_text("x = 1")
    (folder / ".env").write_text("secret")
    (folder / "secrets.py").write_text("secret")
    (tmp_path / "outside.py").write_text("secret")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    folders = [types.WorkspaceFolder(folder.as_uri(), "w")]
    async with start(scripted("Fine."), folders=folders) as editor:
        conversation = await create_conversation(editor)
        chips = await editor.request("starcoder/chat/attach", {"text": text})
        assert [chip["mention"] for chip in chips] == mentions
        await ask(editor, conversation, text)
        stored = await editor.request("starcoder/chat/get", {"conversation": conversation})
        assert stored["turns"][0]["content"] == text
        assert len(stored["turns"][0]["attachments"]) == len(mentions)
        prompt = (await editor.engine_requests())["texts"][-1]
        assert text in prompt
        assert prompt.count("secret") == text.count("secret")


async def test_what_is_sent_is_what_the_editor_shows(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("old = 1\n")
    async with start(scripted("Fine.")) as editor:
        conversation = await create_conversation(editor)
        attachments = [{"kind": "file", "uri": file.as_uri()}]
        await editor.request("starcoder/chat/attach", {"attachments": attachments})
        file.write_text("on_disk = 1\n")
        await ask(editor, conversation, "One?", attachments=attachments)
        assert "on_disk = 1" in (await editor.engine_requests())["texts"][-1]
        editor.open("in_editor = 1\n", file.as_uri())
        await ask(editor, conversation, "Two?", attachments=attachments)
        assert "in_editor = 1" in (await editor.engine_requests())["texts"][-1]


async def test_attachments_have_a_size_while_an_engine_answers() -> None:
    async with start(scripted("Fine.")) as editor:
        editor.open(FUNCTIONS)
        (chip,) = await editor.request("starcoder/chat/attach", {"text": "/fix", **cursor(4)})
        assert 20 < chip["tokens"] < 40
        assert 90_000 < chip["room"] < 100_000
        with_room = "x" * chip["room"]
        await ask(editor, await create_conversation(editor), with_room)
        with pytest.raises(JsonRpcException, match="there is room for"):
            await ask(editor, await create_conversation(editor), with_room + "x")
    async with start(settings=NO_ENGINE) as editor:
        editor.open(FUNCTIONS)
        (chip,) = await editor.request("starcoder/chat/attach", {"text": "/fix", **cursor(4)})
        assert (chip["label"], chip["tokens"], chip["room"]) == ("example.py:4-5", None, None)


async def test_the_model_is_named_with_a_hint_if_it_knows_no_dialogues() -> None:
    async with start(scripted("Fine.")) as editor:
        model = await editor.request("starcoder/chat/model")
        assert (model["model"], model["format"]) == ("scripted", "plain")
        assert "not trained on dialogues" in model["hint"]
    settings = {**NO_ENGINE, "model": "demo"}  # not the model of that server
    for more, name in (({}, ""), ({"engineModel": "some/model"}, "some/model")):
        async with start(settings={**settings, **more}) as editor:
            model = await editor.request("starcoder/chat/model")
            assert model == {"model": name, "format": None, "hint": ""}
