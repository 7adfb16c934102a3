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
from tests.e2e.client import Editor, scripted, start

CODE = "# \N{PARTY POPPER}\r\ndef double(x):\r\n    return x * 2\r\n"


def cursor_at(line: int, character: int = 0) -> dict[str, Any]:
    position = {"line": line, "character": character}
    return {"start": position, "end": position}


async def code_actions(editor: Editor, line: int, problems: tuple[str, ...] = ()) -> list[Any]:
    position = types.Position(line, 4)
    range_ = types.Range(position, position)
    diagnostics = [types.Diagnostic(range_, message) for message in problems]
    params = types.CodeActionParams(
        types.TextDocumentIdentifier(editor.uri), range_, types.CodeActionContext(diagnostics)
    )
    return list(await editor.client.text_document_code_action_async(params) or [])


def open_project(editor: Editor, project: Project, root: Path) -> Path:
    source = lay_out(project, root)
    editor.open(source.read_text(), source.as_uri(), project.language)
    return source


def cursor_in(project: Project, source: Path) -> dict[str, Any]:
    before = source.read_text().split(project.cursor)[0]
    return cursor_at(before.count("\n"), len(before.rsplit("\n", 1)[-1]))


def task_command(editor: Editor, task: str, line: int) -> types.ExecuteCommandParams:
    argument = {"task": task, "uri": editor.uri, "range": cursor_at(line)}
    return types.ExecuteCommandParams("starcoder.task", [argument])


def apply_on_disk(edit: dict[str, Any]) -> None:
    """Apply an edit as an editor does to files that are not open."""
    for change in edit["documentChanges"]:
        if change.get("kind") == "create":
            path = Path(change["uri"].removeprefix("file://"))
            assert not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            continue
        path = Path(change["textDocument"]["uri"].removeprefix("file://"))
        lines = path.read_bytes().decode().splitlines(keepends=True)
        for text_edit in change["edits"]:
            start_, end = text_edit["range"]["start"], text_edit["range"]["end"]
            assert start_ == end
            before, after = lines[: start_["line"]], lines[start_["line"] + 1 :]
            line = lines[start_["line"]] if start_["line"] < len(lines) else ""
            left, right = line[: start_["character"]], line[start_["character"] :]
            text = "".join([*before, left, text_edit["newText"], right, *after])
            path.write_bytes(text.encode())


async def wait_until_writing(editor: Editor) -> None:
    """Wait until the scripted engine has written a few tokens."""
    while (await editor.engine_requests())["tokensWritten"] < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_code_actions_are_offered_for_the_function_at_the_cursor() -> None:
    async with start(scripted("x")) as editor:
        editor.open(CODE)
        titles = [action.title for action in await code_actions(editor, 2, ("undefined y",))]
        assert titles == [
            "Fix with StarCoder: undefined y",
            "Write tests for double",
            "Document double",
            "Explain double",
            "Review double",
        ]
        assert await code_actions(editor, 0) == []


@pytest.mark.parametrize(
    "name", ["pytest, no tests yet", "unittest", "vitest", "go", "cargo", "junit"]
)
async def test_tests_are_proposed_as_an_edit(name: str, tmp_path: Path) -> None:
    project = PROJECTS[name]
    async with start(scripted(project.answer)) as editor:
        source = open_project(editor, project, tmp_path)
        params = {"task": "tests", "uri": source.as_uri(), "range": cursor_in(project, source)}
        answer = await editor.request("starcoder/task", params)
    edit = answer["edit"]
    creates = [change for change in edit["documentChanges"] if change.get("kind") == "create"]
    for create in creates:
        assert create["options"]["overwrite"] is False
    assert answer["title"]
    assert "changeAnnotations" not in edit  # editors would show the edit unticked
    if not creates:
        return
    apply_on_disk(edit)
    # Without a workspace, the project is the file's own folder.
    assert creates[0]["uri"].startswith(tmp_path.as_uri())


async def test_the_command_has_the_client_apply_the_edit(tmp_path: Path) -> None:
    project = PROJECTS["cargo"]
    async with start(scripted(project.answer)) as editor:
        source = open_project(editor, project, tmp_path)
        requests: list[types.ApplyWorkspaceEditParams] = []

        @editor.client.feature(types.WORKSPACE_APPLY_EDIT)
        def _(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            requests.append(params)
            return types.ApplyWorkspaceEditResult(applied=True)

        line = cursor_in(project, source)["start"]["line"]
        actions = await code_actions(editor, line)
        (action,) = [action for action in actions if "tests" in action.title]
        # lsprotocol parses a code action with a command as a Command whose name is the repr of it.
        sent = ast.literal_eval(action.command)
        command = types.ExecuteCommandParams(sent["command"], sent["arguments"])
        answer = await editor.client.workspace_execute_command_async(command)
        assert answer["applied"] is True
    (params,) = requests
    (change,) = params.edit.document_changes
    assert change.text_document.version == 1
    assert "fn test_total()" in change.edits[0].new_text


async def test_partial_answers_are_sent_while_the_model_writes(tmp_path: Path) -> None:
    async with start(scripted("():\n    assert add(1, 2) == 3\n", 0.002)) as editor:
        editor.open("def add(a, b):\n    return a + b\n", (tmp_path / "shop.py").as_uri())
        params = {
            "task": "tests",
            "uri": editor.uri,
            "range": cursor_at(1),
            "partialResultToken": "d",
        }
        answer = await editor.request("starcoder/task", params)
    stage, *values = [value for token, value in editor.progress if token == "d"]
    assert stage == {"stage": "writing tests"}
    assert [value["begins"] for value in values].count(True) == 1
    assert values[0]["begins"]
    assert len(values) > 5  # the answer was sent in pieces
    partial = "".join(value["text"] for value in values)
    assert partial.startswith("```python\n")
    assert partial.endswith("    assert add(1, 2) == 3\n")
    assert "assert add(1, 2) == 3" in str(answer["edit"])


async def test_each_stage_of_a_command_is_shown_as_its_progress() -> None:
    async with start(scripted("nonsense"), progress=True) as editor:
        editor.open(CODE)
        command = task_command(editor, "tests", 2)
        await editor.client.workspace_execute_command_async(command)
        token = await editor.wait_for_progress("writing tests")
    reports = [value for sent_token, value in editor.progress if sent_token == token]
    assert [value["kind"] for value in reports] == ["begin", *["report"] * 3, "end"]
    assert {value["message"] for value in reports[1:-1]} == {"writing tests"}  # for each batch


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_a_client_that_cannot_create_files_gets_an_empty_file_to_fill(
    is_accepted: bool, tmp_path: Path
) -> None:
    def remove_file_operations(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.workspace is not None
        capabilities.workspace.workspace_edit = types.WorkspaceEditClientCapabilities(
            document_changes=True
        )

    created = tmp_path / "tests" / "test_shop.py"
    answer_text = "():\n    assert add(1, 2) == 3\n"
    async with start(scripted(answer_text), change_capabilities=remove_file_operations) as editor:
        editor.open("def add(a, b):\n    return a + b\n", (tmp_path / "shop.py").as_uri())
        requests: list[types.ApplyWorkspaceEditParams] = []

        @editor.client.feature(types.WORKSPACE_APPLY_EDIT)
        def _(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            requests.append(params)
            assert created.read_text() == ""
            return types.ApplyWorkspaceEditResult(applied=is_accepted)

        command = task_command(editor, "tests", 1)
        answer = await editor.client.workspace_execute_command_async(command)
        assert answer["applied"] is is_accepted
    (change,) = requests[0].edit.document_changes
    assert change.text_document.uri == created.as_uri()
    assert "def test_add()" in change.edits[0].new_text
    assert created.exists() is is_accepted
    assert (tmp_path / "tests").exists() is is_accepted


async def test_a_command_that_fails_shows_a_message() -> None:
    async with start(scripted("nonsense")) as editor:
        editor.open(CODE)
        command = task_command(editor, "tests", 2)
        answer = await editor.client.workspace_execute_command_async(command)
        assert answer["applied"] is False
        messages = [message.message for message in editor.client.messages]
        assert any("no test of double" in message for message in messages)


async def test_columns_after_an_emoji_and_line_endings_are_correct() -> None:
    text = CODE.replace("# \N{PARTY POPPER}\r\ndef", "s = '\N{PARTY POPPER}'; y = 1\r\ndef")
    async with start(scripted("z = 3\n```")) as editor:
        editor.open(text)
        first, last = editor.position(text.index("y = 1")), editor.position(text.index("\r\n"))
        range_ = {
            "start": {"line": 0, "character": first.character},
            "end": {"line": 0, "character": last.character},
        }
        params = {"task": "edit", "uri": editor.uri, "range": range_, "instruction": "Three."}
        answer = await editor.request("starcoder/task", params)
        (change,) = answer["edit"]["documentChanges"]
        assert change["edits"][0]["range"]["end"] == {"line": 0, "character": last.character}
        params["task"], params["instruction"] = "explain", ""
        assert (await editor.request("starcoder/task", params))["note"].startswith("z = 3")


async def test_the_task_document_uses_fill_in_the_middle() -> None:
    async with start(scripted('Return twice as much."""')) as editor:
        editor.open(CODE)
        params = {"task": "document", "uri": editor.uri, "range": cursor_at(2)}
        answer = await editor.request("starcoder/task", params)
        (change,) = answer["edit"]["documentChanges"]
        assert change["edits"][0]["newText"] == '    """Return twice as much."""\r\n'
        prompt = (await editor.engine_requests())["texts"][-1]
        assert "<fim_suffix>" in prompt
        assert prompt.count('"""') == 2


async def test_a_cancelled_task_stops_the_model() -> None:
    async with start(scripted("abc\n" * 40 + "x" * 400, 0.01)) as editor:
        editor.open(CODE)
        params = {"task": "explain", "uri": editor.uri, "range": cursor_at(2)}
        future = editor.client.protocol.send_request("starcoder/task", params, msg_id="t1")
        await wait_until_writing(editor)
        editor.client.cancel_request(types.CancelParams("t1"))
        with pytest.raises(JsonRpcException, match="cancel"):
            await asyncio.wrap_future(future)
        await asyncio.sleep(0.05)
        assert (await editor.engine_requests())["stoppedEarly"] == 1


async def test_cancelling_the_progress_of_a_command_stops_the_model() -> None:
    async with start(scripted("abc\n" * 40 + "x" * 400, 0.01), progress=True) as editor:
        editor.open(CODE)
        command = task_command(editor, "explain", 2)
        running = asyncio.create_task(editor.client.workspace_execute_command_async(command))
        token = await asyncio.wait_for(editor.wait_for_progress("explaining"), 20)
        await wait_until_writing(editor)
        editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))
        answer = await asyncio.wait_for(running, 20)
        assert answer == {"applied": False, "note": "cancelled"}
        assert (await editor.engine_requests())["stoppedEarly"] == 1


async def test_a_commit_message_is_written_for_the_staged_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-C", str(tmp_path), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    async with start(scripted("Add a box")) as editor:
        params = {"uri": tmp_path.as_uri()}
        with pytest.raises(JsonRpcException, match="not in the working tree of a git repository"):
            await editor.request("starcoder/commitMessage", params)
        git("init")
        with pytest.raises(JsonRpcException, match="Nothing is staged"):
            await editor.request("starcoder/commitMessage", params)
        (tmp_path / "box.py").write_text("box = 1\n")
        git("add", "box.py")
        answer = await editor.request("starcoder/commitMessage", params)
        assert answer["message"] == "Add a box"
        assert "+box = 1" in (await editor.engine_requests())["texts"][-1]


async def test_the_error_of_an_impossible_task_says_why() -> None:
    async with start(scripted("x")) as editor:
        editor.open(CODE)
        for params, match in (
            ({"task": "tests", "uri": "file:///no/open.py", "range": cursor_at(0)}, "not open"),
            ({"task": "tests", "uri": editor.uri, "range": cursor_at(0)}, "into a function"),
            ({"task": "paint", "uri": editor.uri, "range": cursor_at(0)}, "'task'"),
        ):
            with pytest.raises(JsonRpcException, match=match):
                await editor.request("starcoder/task", params)
