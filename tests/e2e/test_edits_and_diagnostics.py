"""Recent edits and diagnostics in the prompts of the real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import Editor, scripted, start

BREAD = "# Bread.\n\ndef bake_bread(flour):\n    return oven(flour)\n"
MAIN = "def main():\n    bake_bread(flour)\n"
SETTINGS = {"relatedFiles": "always", "eagerness": "eager"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "grüße [1]"
    folder.mkdir()
    (folder / "bread.py").write_text(BREAD)
    (folder / "secret.py").write_text(BREAD)
    (folder / "main.py").write_text(MAIN)
    return folder


def session(root: Path, **settings: Any) -> Any:
    folder = types.WorkspaceFolder(root.as_uri(), root.name)
    return start(scripted("1\n"), folders=[folder], settings={**SETTINGS, **settings})


@pytest.fixture
async def editor(root: Path) -> AsyncIterator[Editor]:
    async with session(root, exclude=["secret.py"]) as running:
        yield running


async def prompt(editor: Editor, contains: Callable[[str], bool], seconds: float = 15.0) -> str:
    """Type in new lines of main.py until a prompt is as it is wanted; return the last prompt."""
    deadline = time.monotonic() + seconds
    text = ""
    while time.monotonic() < deadline and not contains(text):
        # Other text is used when the cursor is elsewhere.
        editor.insert(len(editor.text), "\n" * 40 + "bread = bake_bread(flour) + ")
        await editor.suggestion(len(editor.text))
        text = str((await editor.engine_requests())["texts"][-1])
        await asyncio.sleep(0.1)
    return text


def diagnostic(line: int, message: str) -> dict[str, Any]:
    position = {"line": line, "character": 4}
    return {"range": {"start": position, "end": position}, "message": message, "severity": 1}


async def test_an_edit_of_another_document_is_part_of_the_prompt(
    editor: Editor, root: Path
) -> None:
    editor.open(BREAD, uri=(root / "bread.py").as_uri())
    editor.insert(BREAD.index("):"), ", water")
    editor.open(MAIN, uri=(root / "main.py").as_uri())
    text = await prompt(editor, lambda text: ".diff" in text)
    assert (
        "<filename>bread.py.diff\n # Bread.\n \n-def bake_bread(flour):\n"
        "+def bake_bread(flour, water):\n     return oven(flour)\n"
    ) in text


async def test_edits_of_excluded_files_are_in_no_prompt(editor: Editor, root: Path) -> None:
    for name in ("secret.py", "bread.py"):
        editor.open(BREAD, uri=(root / name).as_uri())
        editor.insert(BREAD.index("):"), f", {name[:-3]}_water")
    editor.open(MAIN, uri=(root / "main.py").as_uri())
    text = await prompt(editor, lambda text: "bread_water" in text)
    assert "+def bake_bread(flour, bread_water):" in text
    assert "secret" not in text


async def test_edits_can_be_switched_off(root: Path) -> None:
    async with session(root, recentEdits=False) as editor:
        editor.open(BREAD, uri=(root / "bread.py").as_uri())
        editor.insert(BREAD.index("):"), ", water")
        editor.open(MAIN, uri=(root / "main.py").as_uri())
        text = await prompt(editor, lambda text: "<filename>bread.py\n" in text)
        assert "<filename>bread.py\n" in text
        assert ".diff" not in text


async def send_diagnostics(editor: Editor, uri: str, *diagnostics: dict[str, Any]) -> None:
    params = {"uri": uri, "diagnostics": list(diagnostics)}
    assert await editor.request("starcoder/diagnostics", params) is None


async def test_diagnostics_are_part_of_the_prompt_until_they_are_gone(
    editor: Editor, root: Path
) -> None:
    main = (root / "main.py").as_uri()
    editor.open(MAIN, uri=main)
    # The client may escape the name of the document in another way.
    await send_diagnostics(
        editor, main.replace("%5B", "["), diagnostic(1, "'bake_bread' is undefined\n\nHint.")
    )
    text = await prompt(editor, lambda text: "problems.txt" in text)
    assert "<filename>problems.txt\nmain.py:2: 'bake_bread' is undefined\n<filename>" in text
    await send_diagnostics(editor, main)
    text = await prompt(editor, lambda text: bool(text) and "problems.txt" not in text)
    assert "problems.txt" not in text


async def test_diagnostics_of_closed_documents_are_ignored(editor: Editor, root: Path) -> None:
    main = (root / "main.py").as_uri()
    await send_diagnostics(editor, main, diagnostic(1, "from before"))
    editor.open(MAIN, uri=main)
    await send_diagnostics(editor, main, diagnostic(1, "from then"))
    identifier = types.TextDocumentIdentifier(main)
    editor.client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))
    editor.open(MAIN, uri=main)
    text = await prompt(editor, lambda text: "<filename>bread.py\n" in text)
    assert "<filename>bread.py\n" in text
    assert "problems.txt" not in text


async def test_diagnostics_can_be_switched_off(root: Path) -> None:
    async with session(root, diagnostics=False) as editor:
        main = (root / "main.py").as_uri()
        editor.open(MAIN, uri=main)
        await send_diagnostics(editor, main, diagnostic(1, "undefined"))
        text = await prompt(editor, lambda text: "<filename>bread.py\n" in text)
        assert "<filename>bread.py\n" in text
        assert "problems.txt" not in text


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"uri": "file:///a.py"},
        {"uri": 5, "diagnostics": []},
        {"uri": "file:///a.py", "diagnostics": [{"message": "no range"}]},
        {"uri": "file:///a.py", "diagnostics": [{**diagnostic(1, ""), "message": None}]},
        {"uri": "file:///a.py", "diagnostics": [diagnostic(-1, "no line")]},
    ],
)
async def test_wrong_parameters_are_an_error_with_the_members_name(
    editor: Editor, params: dict[str, Any]
) -> None:
    with pytest.raises(JsonRpcException, match=r"The parameter '.*' cannot be used"):
        await editor.request("starcoder/diagnostics", params)


async def test_many_and_long_diagnostics(editor: Editor, root: Path) -> None:
    main = (root / "main.py").as_uri()
    editor.open(MAIN, uri=main)
    many = [diagnostic(number, "x" * 10_000) for number in range(3000)]
    await send_diagnostics(editor, main, diagnostic(0, "the first"), *many)
    text = await prompt(editor, lambda text: "<filename>bread.py\n" in text)
    assert len(text) < 20_000
