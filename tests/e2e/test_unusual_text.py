"""Text of any kind is completed, attached, explained, documented and edited, at the same places."""

from __future__ import annotations

from typing import Any

import pytest
from lsprotocol import types

from tests.e2e.client import Editor, scripted, start, use_encoding

CODE = "def area(width, height):\n    return width\n"
TEXTS = {
    "a lone surrogate": "s = '\ud83d'\n\n",
    "two halves in the wrong order": "s = '\ude00\ud83d'  # \ud83d\n\n",
    "a null character": "s = 1\n\n# " + "y" * 9_000 + "\0\n",
    "a form feed and a line separator": "s = '\x0c\u2028\x85\x0b'\n\x0c\n",
    "a byte order mark": "\ufeff# -*- coding: utf-8 -*-\n\n",
    "zero-width and combining characters": "# e\u0301 a\u200bb \u200d\u2060 👩\u200d💻\n\n",
    "right to left": "# \u202eשלום עולם\u202c مرحبا\n\n",
    "characters of two code units": "# 🎉𝒳漢\n\n",
}


def plain_range(start: types.Position, end: types.Position) -> dict[str, Any]:
    return {
        "start": {"line": start.line, "character": start.character},
        "end": {"line": end.line, "character": end.character},
    }


def line_of(text: str, part: str) -> int:
    """Return the line of a part of a text, as LSP counts lines."""
    before = text[: text.index(part)].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n")


async def proposed(editor: Editor, task: str, text: str) -> tuple[dict[str, Any], str]:
    """Return the range and the text of the edit that a task proposes for the function."""
    cursor = types.Position(line_of(text, "def area"), 5)
    params = {
        "task": task,
        "uri": editor.uri,
        "range": plain_range(cursor, cursor),
        "instruction": "Two.",
    }
    result = await editor.request("starcoder/task", params)
    (change,) = [
        edit
        for file in result["edit"].get("documentChanges") or ()
        for edit in file.get("edits") or ()
    ]
    return change["range"], change["newText"]


async def check_places(editor: Editor, name: str, line_end: str) -> None:
    """Check that code actions, an edit and an attachment mean the same place as the editor."""
    text = (TEXTS[name] + CODE).replace("\n", line_end)
    editor.open(text, f"file:///work-space/{list(TEXTS).index(name)}.py")
    first = line_of(text, "def area")
    cursor = types.Position(first, 5)
    actions = await editor.client.text_document_code_action_async(
        types.CodeActionParams(
            types.TextDocumentIdentifier(editor.uri),
            types.Range(cursor, cursor),
            types.CodeActionContext([]),
        )
    )
    assert "Document area" in [action.title for action in actions or ()], name
    range_, new_text = await proposed(editor, "edit", text)
    assert range_["start"] == {"line": first, "character": 0}, name
    assert range_["end"] == {"line": first + 1, "character": len("    return width")}, name
    assert new_text == f"def area(width, height):{line_end}    return 2", name
    conversation = (await editor.request("starcoder/chat/create"))["id"]
    selection = plain_range(types.Position(first, 4), types.Position(first, 8))
    attachment = {"kind": "selection", "uri": editor.uri, "range": selection}
    question = {"conversation": conversation, "text": "What \ud83d?", "attachments": [attachment]}
    await editor.request("starcoder/chat/send", question)
    assert "\narea\n```" in (await editor.engine_requests())["texts"][-1], name


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
async def test_places_do_not_move(line_end: str) -> None:
    async with start(scripted("def area(width, height):\n    return 2\n```\n")) as editor:
        for name in TEXTS:
            await check_places(editor, name, line_end)


async def test_documentation_is_inserted_at_its_place() -> None:
    async with start(scripted("Return it.")) as editor:
        for name, before in TEXTS.items():
            text = before + CODE
            editor.open(text, f"file:///work-space/{list(TEXTS).index(name)}.py")
            range_, new_text = await proposed(editor, "document", text)
            line = {"line": line_of(text, "    return"), "character": 0}
            assert (range_["start"], range_["end"]) == (line, line), name
            assert new_text == '    """Return it."""\n', name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_a_suggestion_is_at_the_cursor(encoding: str) -> None:
    async with start(
        scripted("width * height"), change_capabilities=use_encoding(encoding)
    ) as editor:
        assert editor.encoding == encoding
        for name, before in TEXTS.items():
            editor.open(f"{before}x = '🎉é' + ", f"file:///work-space/{len(before)}.py")
            line = line_of(editor.text, "x = ")
            sizes = {"utf-8": 4 + 2, "utf-16": 2 + 1, "utf-32": 1 + 1}
            cursor = types.Position(line, len("x = '' + ") + sizes[encoding])
            answer = await editor.client.text_document_inline_completion_async(
                types.InlineCompletionParams(
                    types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked),
                    types.TextDocumentIdentifier(editor.uri),
                    cursor,
                )
            )
            items = list(getattr(answer, "items", None) or [])
            assert items, name
            assert (items[0].range.start, items[0].range.end) == (cursor, cursor), name
