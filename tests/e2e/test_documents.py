"""Documents of all kinds, as real clients name them, over the real protocol."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import Editor, scripted, start
from tests.e2e.test_tasks import cursor_at, wait_until_writing

CODE = "def total(xs):\n    return sum(xs)\n"
NAME = "J\xf6rg's [new] + project/(shop) @cart; 100%.py"

VSCODE, NEOVIM, EMACS, RAW = "/", "/-._~!$&'()*+,;=:@", "/:!$&'()*+,=@~", "/ '[]+()@;\xf6"

VIRTUAL = [
    "untitled:Untitled-1",
    "untitled:scratch.py",
    "file://",
    "inmemory://model/1",
    "vscode-vfs://github/me/proj/a.py",
    "vscode-remote://ssh-remote%2Bbox/home/me/a.py",
    "jdt://contents/rt.jar/java.util/List.class?=x%2Fy",
    "file:///c%3A/Users/me/a.py",
    "file://server/share/a.py",
    "zipfile:///deps.zip::a.py",
    "output:starcoder",
]


def folder(path: Path) -> list[types.WorkspaceFolder]:
    return [types.WorkspaceFolder("file://" + quote(str(path)), "project")]


async def task(editor: Editor, name: str, line: int = 0, **more: Any) -> Any:
    params = {"task": name, "uri": editor.uri, "range": cursor_at(line, 5), **more}
    return await editor.request("starcoder/task", params)


def edited(answer: Any) -> list[str]:
    changes = answer["edit"]["documentChanges"]
    return [change["textDocument"]["uri"] for change in changes if "textDocument" in change]


def texts_of(answer: Any) -> str:
    changes = answer["edit"]["documentChanges"]
    return "".join(edit["newText"] for change in changes for edit in change.get("edits", []))


def open_notebook(editor: Editor, uri: str, cells: dict[str, str]) -> None:
    items = [types.TextDocumentItem(cell, "python", 1, text) for cell, text in cells.items()]
    kinds = [types.NotebookCell(types.NotebookCellKind.Code, cell) for cell in cells]
    notebook = types.NotebookDocument(uri, "jupyter-notebook", 1, kinds)
    params = types.DidOpenNotebookDocumentParams(notebook, items)
    editor.client.notebook_document_did_open(params)


@pytest.mark.parametrize("opened", [VSCODE, NEOVIM, EMACS])
@pytest.mark.parametrize("asked", [VSCODE, NEOVIM, RAW])
async def test_a_document_is_found_in_each_spelling_of_its_uri(
    opened: str, asked: str, tmp_path: Path
) -> None:
    file = tmp_path / NAME
    file.parent.mkdir()
    file.write_text("on disk")
    escape = quote(str(file), safe=asked) if asked != RAW else str(file).replace("%", "%25")
    uri = "file://" + quote(str(file), safe=opened)
    async with start(scripted('Add up."""'), folders=folder(file.parent)) as editor:
        editor.open(CODE, uri)
        editor.insert(0, "# unsaved\n")
        editor.uri = f"file://{escape}"
        selected = {"kind": "selection", "uri": editor.uri, "range": cursor_at(1)}
        whole = {"kind": "file", "uri": editor.uri}
        selected["range"]["end"] = {"line": 2, "character": 0}
        chips = await editor.request("starcoder/chat/attach", {"attachments": [selected, whole]})
        assert chips[0]["label"] == f"{file.name}:2-2"
        assert chips[1]["label"] == file.name
        assert chips[1]["tokens"] > chips[0]["tokens"] > 3
        answer = await task(editor, "document", 1)
        assert edited(answer) == [uri]
        assert answer["edit"]["documentChanges"][0]["textDocument"]["version"] == 2


async def test_tests_go_to_the_folder_with_the_odd_name(tmp_path: Path) -> None:
    root = tmp_path / "J\xf6rg's [new] + project"
    existing = root / "tests" / "test_shop.py"
    existing.parent.mkdir(parents=True)
    existing.write_text("from shop import total\n\n\ndef test_old():\n    assert total([]) == 0\n")
    shop = root / "shop.py"
    async with start(scripted("():\n    assert total([1]) == 1\n"), folders=folder(root)) as editor:
        opened = "file://" + quote(str(existing), safe=NEOVIM)
        editor.open(existing.read_text() + "# unsaved\n", opened)
        editor.open(CODE, "file://" + quote(str(shop), safe=NEOVIM))
        answer = await task(editor, "tests")
        assert edited(answer) == [opened]
        assert answer["edit"]["documentChanges"][0]["textDocument"]["version"] == 1
        # After the unsaved line, which is not on disk.
        assert answer["edit"]["documentChanges"][0]["edits"][-1]["range"]["start"]["line"] == 6


async def test_an_open_file_is_found_through_a_symbolic_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "tests").mkdir(parents=True)
    link.symlink_to(real)
    existing = "from shop import total\n\n\ndef test_old():\n    assert total([]) == 0\n"
    (real / "tests" / "test_shop.py").write_text(existing)
    async with start(scripted("():\n    assert total([1]) == 1\n"), folders=folder(link)) as editor:
        opened = (real / "tests" / "test_shop.py").as_uri()
        editor.open(existing + "\n\n# unsaved\n", opened)
        editor.open(CODE, (link / "shop.py").as_uri())
        assert edited(await task(editor, "tests")) == [opened]


@pytest.mark.parametrize("uri", VIRTUAL)
async def test_a_document_that_is_no_file_can_be_completed_explained_and_documented(
    uri: str,
) -> None:
    async with start(scripted('Add up."""')) as editor:
        editor.open(CODE, uri)
        assert await editor.suggestion(len(CODE), invoked=True)
        assert edited(await task(editor, "document")) == [uri]
        assert (await task(editor, "explain"))["note"]
        chips = await editor.request(
            "starcoder/chat/attach", {"attachments": [{"kind": "file", "uri": uri}]}
        )
        assert chips[0]["tokens"] > 3
        before = len((await editor.engine_requests())["prompts"])
        with pytest.raises(JsonRpcException, match=r"not saved|not a file of this machine"):
            await task(editor, "tests")
        assert len((await editor.engine_requests())["prompts"]) == before
        assert "Traceback" not in str(editor.client.messages)


@pytest.mark.parametrize(
    "cell",
    [
        "vscode-notebook-cell:{}#W{}",
        "vscode-notebook-cell:{}#W{}sZmlsZQ%3D%3D",
        "vscode-notebook-cell://ssh-remote%2Bbox{}#W{}",
        "file://{}#cell{}",
        "file://{}.cell{}.py",
        "vscode-notebook-cell:/Untitled-1.ipynb?jupyter-notebook#{1}",
    ],
)
async def test_a_task_in_a_cell_edits_that_cell(cell: str, tmp_path: Path) -> None:
    notebook = tmp_path / "my study.ipynb"
    notebook.write_text("{}")
    uris = [cell.format(quote(str(notebook)), number) for number in range(3)]
    cells = ["import math\nrate = 0.2\n", "def grow(a):\n    return a * rate\n", "grow(1)\n"]
    answer_text = "def grow(a):\n    return a\n```"
    async with start(scripted(answer_text), folders=folder(tmp_path)) as editor:
        opened = dict(zip(uris, cells, strict=True))
        open_notebook(editor, notebook.as_uri(), opened)
        editor.uri = uris[1]
        answer = await task(editor, "edit", instruction="shorter")
        assert edited(answer) == [uris[1]]
        answer = await task(editor, "fix", problems=["Undefined name"])
        assert edited(answer) == [uris[1]]
        with pytest.raises(JsonRpcException, match="Other files cannot use a cell of a notebook"):
            await task(editor, "tests")
        attached = [
            {"kind": "selection", "uri": uris[2], "range": cursor_at(0)},
            {"kind": "file", "uri": uris[1]},
            {"kind": "file", "uri": notebook.as_uri()},
        ]
        chips = await editor.request("starcoder/chat/attach", {"attachments": attached})
        assert chips[0]["label"].endswith("cell 3:1-1")
        assert chips[1]["label"].endswith("cell 2")
        assert chips[2]["label"] == "my study.ipynb"
        assert chips[2]["tokens"] > chips[1]["tokens"]  # all cells, not the file on disk


async def test_documenting_a_cell_shows_the_model_the_cells_before() -> None:
    uris = [f"vscode-notebook-cell:/w/a.ipynb#{number}" for number in range(2)]
    async with start(scripted('Grow."""')) as editor:
        cells = ["secret_rate = 0.2\n", "def grow(a):\n    return a\n"]
        open_notebook(editor, "file:///w/a.ipynb", dict(zip(uris, cells, strict=True)))
        editor.uri = uris[1]
        assert edited(await task(editor, "document")) == [uris[1]]
        assert "secret_rate" in (await editor.engine_requests())["texts"][-1]


async def test_an_edit_follows_its_code_while_the_user_types() -> None:
    async with start(scripted("def total(xs):\n    return 1\n```", 0.01)) as editor:
        editor.open(CODE)
        running = asyncio.create_task(task(editor, "edit", instruction="shorter"))
        await wait_until_writing(editor)
        editor.insert(0, "# \N{PARTY POPPER}\r\n\n")
        answer = await running
        (change,) = answer["edit"]["documentChanges"]
        assert change["textDocument"]["version"] == editor.version == 2
        assert change["edits"][0]["range"]["start"] == {"line": 2, "character": 0}
        assert change["edits"][0]["range"]["end"] == {"line": 3, "character": 18}


async def test_an_edit_of_changed_code_is_refused() -> None:
    async with start(scripted("def total(xs):\n    return 1\n```", 0.01)) as editor:
        editor.open(CODE)
        running = asyncio.create_task(task(editor, "edit", instruction="shorter"))
        await wait_until_writing(editor)
        editor.insert(len(CODE) - 1, " + 1")
        with pytest.raises(JsonRpcException, match="changed while the model wrote"):
            await running


async def test_a_document_that_was_closed_meanwhile_is_not_edited() -> None:
    async with start(scripted("def total(xs):\n    return 1\n```", 0.01)) as editor:
        editor.open(CODE)
        running = asyncio.create_task(task(editor, "edit", instruction="shorter"))
        await wait_until_writing(editor)
        identifier = types.TextDocumentIdentifier(editor.uri)
        editor.client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))
        with pytest.raises(JsonRpcException, match=r"example\.py is not open"):
            await running


async def test_edits_of_one_document_are_one_change(tmp_path: Path) -> None:
    """Positions of a second change would refer to the text after the first one."""
    existing = tmp_path / "tests" / "test_shop.py"
    existing.parent.mkdir()
    existing.write_text("import os\n\n\ndef test_old():\n    assert os\n")
    answer_text = "():\n    assert total([1]) == 1\n"
    async with start(scripted(answer_text), folders=folder(tmp_path)) as editor:
        editor.open(CODE, (tmp_path / "shop.py").as_uri())
        answer = await task(editor, "tests")
        (change,) = answer["edit"]["documentChanges"]
        assert change["textDocument"]["uri"] == existing.as_uri()
        assert "from shop import total" in texts_of(answer)
        assert "def test_total" in texts_of(answer)
        assert len(change["edits"]) == 2


async def test_requests_in_two_spellings_share_their_suggestion() -> None:
    async with start(scripted("sum(xs)\n")) as editor:
        text = "def total(xs):\n    return "
        editor.open(text, "file:///w/%5Bid%5D/a.py")
        first = await editor.suggestion(len(text))
        editor.uri = "file:///w/[id]/a.py"
        assert first is not None
        assert await editor.suggestion(len(text)) == first
        assert len((await editor.engine_requests())["prompts"]) == 1


async def test_what_is_no_open_document_and_no_file_cannot_be_attached(tmp_path: Path) -> None:
    async with start(scripted("x"), folders=folder(tmp_path)) as editor:
        for uri in ("vscode-vfs://github/me/a.py", "untitled:a.py", "file://", "file:///w/a#1"):
            with pytest.raises(JsonRpcException, match="is not open, and it is not a file"):
                await editor.request(
                    "starcoder/chat/attach", {"attachments": [{"kind": "file", "uri": uri}]}
                )


async def test_closing_a_notebook_cancels_the_request_of_its_cell() -> None:
    uris = [f"vscode-notebook-cell:/w/a.ipynb#{number}%3D" for number in range(2)]
    async with start(scripted("sum(xs)  # " + "x" * 400, 0.01)) as editor:
        open_notebook(editor, "file:///w/a.ipynb", {uris[0]: "a = 1\n", uris[1]: "b = "})
        editor.uri, editor.text = uris[1], "b = "
        request = asyncio.wrap_future(editor.request_completion(4))
        await wait_until_writing(editor)
        cells = [types.TextDocumentIdentifier(uri) for uri in uris]
        notebook = types.NotebookDocumentIdentifier("file:///w/a.ipynb")
        editor.client.notebook_document_did_close(
            types.DidCloseNotebookDocumentParams(notebook, cells)
        )
        answer = await asyncio.wait_for(request, 5)
        assert answer is not None
        assert not answer.items


@pytest.mark.parametrize("excluded", [(), ("tests/test_keys.py",)])
async def test_an_excluded_test_file_is_no_example_for_the_model(
    excluded: tuple[str, ...], tmp_path: Path
) -> None:
    example = "from keys import key\n\n\ndef test_key():\n    assert key() == 'secret-word'\n"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_keys.py").write_text(example)
    (tmp_path / "keys.py").write_text("def key():\n    return 'secret-word'\n")
    settings = {"exclude": list(excluded)}
    answer_text = "():\n    assert total([1]) == 1\n"
    async with start(scripted(answer_text), folders=folder(tmp_path), settings=settings) as editor:
        editor.open(CODE, (tmp_path / "shop.py").as_uri())
        assert edited(await task(editor, "tests")) == [(tmp_path / "tests/test_shop.py").as_uri()]
        texts = str((await editor.engine_requests())["texts"])
        assert ("secret-word" in texts) is not bool(excluded)
