"""Code actions and tasks over the real protocol, with files on a real disk."""

import ast
import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.chat.tasks.projects import PROJECTS, Project, lay_out
from tests.e2e.client import Editor, capabilities, scripted, start

CODE = "# \N{PARTY POPPER}\r\ndef double(x):\r\n    return x * 2\r\n"


def at(line: int, character: int = 0) -> dict[str, Any]:
    point = {"line": line, "character": character}
    return {"start": point, "end": point}


async def offered(editor: Editor, line: int, problems: tuple[str, ...] = ()) -> list[Any]:
    point = types.Position(line, 4)
    where = types.Range(point, point)
    found = [types.Diagnostic(where, one) for one in problems]
    params = types.CodeActionParams(
        types.TextDocumentIdentifier(editor.uri), where, types.CodeActionContext(found)
    )
    return list(await editor.client.text_document_code_action_async(params) or [])


def open_project(editor: Editor, project: Project, root: Path) -> Path:
    source = lay_out(project, root)
    editor.open(source.read_text(), source.as_uri(), project.language)
    return source


def cursor(project: Project, source: Path) -> dict[str, Any]:
    before = source.read_text().split(project.at)[0]
    return at(before.count("\n"), len(before.rsplit("\n", 1)[-1]))


def apply(edit: dict[str, Any]) -> None:
    """As an editor does it, for files that are not open."""
    for change in edit["documentChanges"]:
        if change.get("kind") == "create":
            path = Path(change["uri"].removeprefix("file://"))
            assert not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            continue
        path = Path(change["textDocument"]["uri"].removeprefix("file://"))
        lines = path.read_bytes().decode().splitlines(keepends=True)
        for one in change["edits"]:
            start, end = one["range"]["start"], one["range"]["end"]
            assert start == end
            before = lines[: start["line"]]
            line = lines[start["line"]] if start["line"] < len(lines) else ""
            at_ = start["character"]
            text = "".join(
                [*before, line[:at_], one["newText"], line[at_:], *lines[start["line"] + 1 :]]
            )
            path.write_bytes(text.encode())


async def test_actions_for_the_function_under_the_cursor() -> None:
    async with start(scripted("x")) as editor:
        editor.open(CODE)
        titles = [one.title for one in await offered(editor, 2, ("undefined y",))]
        assert titles == [
            "Fix with StarCoder: undefined y",
            "Write tests for double",
            "Document double",
            "Explain double",
        ]
        assert await offered(editor, 0) == []


@pytest.mark.parametrize(
    "name", ["pytest, nothing there yet", "unittest", "vitest", "go", "cargo", "junit"]
)
async def test_tests_are_proposed_as_an_edit_that_asks_first(name: str, tmp_path: Path) -> None:
    project = PROJECTS[name]
    async with start(scripted(project.answer)) as editor:
        source = open_project(editor, project, tmp_path)
        params = {"task": "tests", "uri": source.as_uri(), "range": cursor(project, source)}
        answer = await editor.request("starcoder/task", params)
    # Without a workspace the file's own folder is the project.
    edit = answer["edit"]
    creates = [one for one in edit["documentChanges"] if one.get("kind") == "create"]
    for one in creates:
        assert one["options"]["overwrite"] is False
    annotation = edit["changeAnnotations"]["starcoder"]
    assert annotation["needsConfirmation"] is True
    assert annotation["label"] == answer["title"]
    if not creates:
        return
    apply(edit)
    assert creates[0]["uri"].startswith(tmp_path.as_uri())


async def test_the_command_has_the_client_apply_it(tmp_path: Path) -> None:
    project = PROJECTS["cargo"]
    async with start(scripted(project.answer)) as editor:
        source = open_project(editor, project, tmp_path)
        asked: list[types.ApplyWorkspaceEditParams] = []

        @editor.client.feature(types.WORKSPACE_APPLY_EDIT)
        def _(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            asked.append(params)
            return types.ApplyWorkspaceEditResult(applied=True)

        line = cursor(project, source)["start"]["line"]
        (action,) = [one for one in await offered(editor, line) if "tests" in one.title]
        # lsprotocol reads any code action with a command as a Command, and that as text.
        sent = ast.literal_eval(action.command)
        command = types.ExecuteCommandParams(sent["command"], sent["arguments"])
        answer = await editor.client.workspace_execute_command_async(command)
        assert answer["applied"] is True
    (params,) = asked
    (change,) = params.edit.document_changes
    assert change.text_document.version == 1
    assert "fn test_total()" in change.edits[0].new_text


async def test_drafts_are_shown_while_they_are_written(tmp_path: Path) -> None:
    async with start(scripted("():\n    assert add(1, 2) == 3\n", 0.002)) as editor:
        editor.open("def add(a, b):\n    return a + b\n", (tmp_path / "shop.py").as_uri())
        params = {"task": "tests", "uri": editor.uri, "range": at(1), "partialResultToken": "d"}
        answer = await editor.request("starcoder/task", params)
    values = [value for token, value in editor.progress if token == "d"]
    assert [value["begins"] for value in values].count(True) == 1
    assert values[0]["begins"]
    assert len(values) > 5  # it came in pieces
    draft = "".join(value["text"] for value in values)
    assert draft.startswith("```python\n")
    assert draft.endswith("    assert add(1, 2) == 3\n")
    assert "assert add(1, 2) == 3" in str(answer["edit"])


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_client_that_makes_no_file_gets_one_to_fill(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(editor: str, **_: bool) -> types.ClientCapabilities:
        known = capabilities(editor)
        assert known.workspace is not None
        known.workspace.workspace_edit = types.WorkspaceEditClientCapabilities(
            document_changes=True
        )
        return known

    monkeypatch.setattr("tests.e2e.client.capabilities", without)
    made = tmp_path / "tests" / "test_shop.py"
    async with start(scripted("():\n    assert add(1, 2) == 3\n")) as editor:
        editor.open("def add(a, b):\n    return a + b\n", (tmp_path / "shop.py").as_uri())
        asked: list[types.ApplyWorkspaceEditParams] = []

        @editor.client.feature(types.WORKSPACE_APPLY_EDIT)
        def _(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            asked.append(params)
            assert made.read_text() == ""
            return types.ApplyWorkspaceEditResult(applied=wanted)

        argument = {"task": "tests", "uri": editor.uri, "range": at(1)}
        command = types.ExecuteCommandParams("starcoder.task", [argument])
        answer = await editor.client.workspace_execute_command_async(command)
        assert answer["applied"] is wanted
    (change,) = asked[0].edit.document_changes
    assert change.text_document.uri == made.as_uri()
    assert "def test_add()" in change.edits[0].new_text
    assert made.exists() is wanted
    assert (tmp_path / "tests").exists() is wanted


async def test_a_command_that_fails_tells_the_user() -> None:
    async with start(scripted("nonsense")) as editor:
        editor.open(CODE)
        argument = {"task": "tests", "uri": editor.uri, "range": at(2)}
        command = types.ExecuteCommandParams("starcoder.task", [argument])
        answer = await editor.client.workspace_execute_command_async(command)
        assert answer["applied"] is False
        assert any("no test of double" in one.message for one in editor.client.messages)


async def test_columns_after_an_emoji_and_line_ends_stay_right() -> None:
    text = CODE.replace("# \N{PARTY POPPER}\r\ndef", "s = '\N{PARTY POPPER}'; y = 1\r\ndef")
    async with start(scripted("z = 3\n```")) as editor:
        editor.open(text)
        start_, end = editor.position(text.index("y = 1")), editor.position(text.index("\r\n"))
        where = {
            "start": {"line": 0, "character": start_.character},
            "end": {"line": 0, "character": end.character},
        }
        params = {"task": "edit", "uri": editor.uri, "range": where, "instruction": "Three."}
        answer = await editor.request("starcoder/task", params)
        (change,) = answer["edit"]["documentChanges"]
        assert change["edits"][0]["range"]["end"] == {"line": 0, "character": end.character}
        params["task"], params["instruction"] = "explain", ""
        assert (await editor.request("starcoder/task", params))["note"].startswith("z = 3")


async def test_documenting_fills_in_the_middle() -> None:
    async with start(scripted('Return twice as much."""')) as editor:
        editor.open(CODE)
        params = {"task": "document", "uri": editor.uri, "range": at(2)}
        answer = await editor.request("starcoder/task", params)
        (change,) = answer["edit"]["documentChanges"]
        assert change["edits"][0]["newText"] == '    """Return twice as much."""\r\n'
        prompt = (await editor.request("test/requests"))["texts"][-1]
        assert "<fim_suffix>" in prompt
        assert prompt.count('"""') == 2


async def test_a_cancelled_task_stops_the_model() -> None:
    async with start(scripted("abc\n" * 40 + "x" * 400, 0.01)) as editor:
        editor.open(CODE)
        params = {"task": "explain", "uri": editor.uri, "range": at(2)}
        asked = editor.client.protocol.send_request("starcoder/task", params, msg_id="t1")
        while (await editor.request("test/requests"))["tokensWritten"] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        editor.client.cancel_request(types.CancelParams("t1"))
        with pytest.raises(JsonRpcException, match="cancel"):
            await asyncio.wrap_future(asked)
        await asyncio.sleep(0.05)
        assert (await editor.request("test/requests"))["stoppedEarly"] == 1


async def test_a_command_is_stopped_by_its_progress() -> None:
    async with start(scripted("abc\n" * 40 + "x" * 400, 0.01), progress=True) as editor:
        editor.open(CODE)
        argument = {"task": "explain", "uri": editor.uri, "range": at(2)}
        command = types.ExecuteCommandParams("starcoder.task", [argument])
        running = asyncio.create_task(editor.client.workspace_execute_command_async(command))
        token = await asyncio.wait_for(editor.working_on("explaining"), 20)
        while (await editor.request("test/requests"))["tokensWritten"] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))
        answer = await asyncio.wait_for(running, 20)
        assert answer == {"applied": False, "note": "cancelled"}
        assert (await editor.request("test/requests"))["stoppedEarly"] == 1


async def test_a_commit_message_for_what_is_staged(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    async with start(scripted("Add a box")) as editor:
        ask = {"uri": tmp_path.as_uri()}
        with pytest.raises(JsonRpcException, match="git: "):
            await editor.request("starcoder/commitMessage", ask)
        git("init")
        with pytest.raises(JsonRpcException, match="Nothing is staged"):
            await editor.request("starcoder/commitMessage", ask)
        (tmp_path / "box.py").write_text("box = 1\n")
        git("add", "box.py")
        answer = await editor.request("starcoder/commitMessage", ask)
        assert answer["message"] == "Add a box"
        assert "+box = 1" in (await editor.request("test/requests"))["texts"][-1]


async def test_what_cannot_be_done_says_why() -> None:
    async with start(scripted("x")) as editor:
        editor.open(CODE)
        for params, match in (
            ({"task": "tests", "uri": "file:///not/open.py", "range": at(0)}, "not open"),
            ({"task": "tests", "uri": editor.uri, "range": at(0)}, "into a function"),
            ({"task": "paint", "uri": editor.uri, "range": at(0)}, "'task'"),
        ):
            with pytest.raises(JsonRpcException, match=match):
                await editor.request("starcoder/task", params)
