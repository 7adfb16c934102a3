"""Code blocks of answers over the real protocol: the real server, the real sandbox."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from sandbox.sandbox import isolation_problem
from tests.e2e.client import Editor, scripted, start

pytestmark = pytest.mark.skipif(
    isolation_problem() is not None, reason=f"optional: {isolation_problem()}"
)
ALWAYS = {"runTests": "always"}


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARCODER_LSP_CHATS", str(tmp_path / "own.sqlite3"))
    monkeypatch.setenv("STARCODER_LSP_CONSENT", str(tmp_path / "consent.json"))


@pytest.fixture
def folders(tmp_path: Path) -> list[types.WorkspaceFolder]:
    """Two folders, which the program of a sandbox can read also if the tests run as root."""
    result = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "own.py").write_text(f"NAME = {name!r}\n")
        for path in (folder, *folder.parents[:3]):
            path.chmod(0o755)
        result.append(types.WorkspaceFolder(folder.as_uri(), name))
    return result


async def ask(editor: Editor) -> dict[str, Any]:
    """Ask the scripted model, and return what names its answer in a request to run a block."""
    conversation = (await editor.request("starcoder/chat/create"))["id"]
    params = {"conversation": conversation, "text": "Write code"}
    answer = await editor.request("starcoder/chat/send", params)
    return {"conversation": conversation, "turn": answer["turn"]["id"]}


async def test_a_block_runs_in_the_folder_of_the_document(
    folders: list[types.WorkspaceFolder],
) -> None:
    answer = "Once:\n```python\nimport own\nprint(own.NAME)\n```\nor\n```js\nconsole.log(1)\n```"
    async with start(scripted(answer), settings=ALWAYS, folders=folders) as editor:
        where = await ask(editor)
        done = await editor.request("starcoder/chat/run", {**where, "block": 0})
        assert (done["outcome"], done["output"], done["figures"]) == ("passed", "first", [])
        assert 0 < done["seconds"] < 30
        uri = f"{folders[1].uri}/own.py"
        done = await editor.request("starcoder/chat/run", {**where, "block": 0, "uri": uri})
        assert done["output"] == "second"


async def test_only_code_of_a_stored_answer_runs() -> None:
    answer = "```sh\nprint('c')\n```\n```python\nprint('a  b')\n```\n```python\nprint('c')\n```\n"
    async with start(scripted(answer), settings=ALWAYS) as editor:
        where = await ask(editor)
        question = await editor.request("starcoder/chat/get", where)
        for params, message in (
            ({"block": 3}, "does not have this code block"),
            ({"block": 1, "text": "import os"}, "does not have this code block"),
            ({"block": 1, "text": "print('a b')"}, "does not have this code block"),
            ({"block": 1, "turn": question["turns"][0]["id"]}, "does not have this answer"),
            ({"block": 0, "conversation": "none"}, "no such conversation"),
            ({"block": -1}, "'block' cannot be used"),
        ):
            with pytest.raises(JsonRpcException, match=message):
                await editor.request("starcoder/chat/run", {**where, **params})
        for block, text, output in (
            (1, "print('a  b')\n", "a  b"),
            (2, "print('c')", "c"),  # the same text has another language before
            (5, "print('a  b')", "a  b"),  # the client has counted more blocks
        ):
            params = {**where, "block": block, "text": text}
            assert (await editor.request("starcoder/chat/run", params))["output"] == output


async def test_the_user_is_asked_once(folders: list[types.WorkspaceFolder]) -> None:
    questions = []
    async with start(scripted("```python\nprint(1)\n```\n"), folders=folders) as editor:

        @editor.client.feature(types.WINDOW_SHOW_MESSAGE_REQUEST)
        def _(params: types.ShowMessageRequestParams) -> types.MessageActionItem | None:
            questions.append(params.message)
            assert params.actions
            return None if len(questions) == 1 else params.actions[0]

        where = {**(await ask(editor)), "block": 0}
        with pytest.raises(JsonRpcException, match="Nothing was run"):
            await editor.request("starcoder/chat/run", where)
        for _ in range(2):
            assert (await editor.request("starcoder/chat/run", where))["output"] == "1"
    assert len(questions) == 2
    assert "code from the chat" in questions[0]


async def test_without_consent_nothing_runs() -> None:
    settings = {"runTests": "never"}
    async with start(scripted("```python\nprint(1)\n```\n"), settings=settings) as editor:
        with pytest.raises(JsonRpcException, match="Nothing was run"):
            await editor.request("starcoder/chat/run", {**(await ask(editor)), "block": 0})


@pytest.mark.parametrize("how", ["cancel", "shutdown"])
async def test_a_cancelled_program_ends(how: str) -> None:
    word = f"sleep-{uuid.uuid4().hex}"
    code = (
        "import subprocess, sys\\n"
        f"subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)', '{word}'])"
    ).replace("\\n", "\n")
    async with start(scripted(f"```python\n{code}\n```"), settings=ALWAYS) as editor:
        params = {**(await ask(editor)), "block": 0}
        send = editor.client.protocol.send_request
        future = send("starcoder/chat/run", params, msg_id="r1")
        async with asyncio.timeout(20):
            while not processes_with(word):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        if how == "cancel":
            editor.client.cancel_request(types.CancelParams("r1"))
            with pytest.raises(JsonRpcException, match="cancel"):
                await asyncio.wrap_future(future)
            await wait_until_none(word)
    await wait_until_none(word)


async def wait_until_none(word: str) -> None:
    async with asyncio.timeout(2):
        while processes_with(word):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def processes_with(word: str) -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline"])
    return [each for each in every if word in (each.info["cmdline"] or ())]
