"""Suggestions of a real server process, and what the engine is asked for them."""

import time
from typing import Any

import pytest
from lsprotocol import types

from tests.e2e.client import Editor, scripted, start

SPECIAL_TOKENS = (
    "a = '<fim_suffix>'\nb = '<|endoftext|>'\nc = '<|end|> <fim_prefix><fim_middle>'\nd = "
)


def accept(text: str, item: Any, editor: Editor) -> str:
    """Return the text with a suggestion accepted, without the product's code."""
    start_, end = (
        next(offset for offset in range(len(text) + 1) if editor.position(offset) == position)
        for position in (item.range.start, item.range.end)
    )
    return text[:start_] + str(item.insert_text) + text[end:]


async def test_text_that_spells_special_tokens_is_encoded_as_text() -> None:
    async with start(scripted("1")) as editor:
        editor.open(SPECIAL_TOKENS + "\n<fim_middle> = 2\n")
        assert await editor.suggestion(len(SPECIAL_TOKENS)) == "1"
        requests = await editor.engine_requests()
        # Ids of the scripted engine's tokenizer: 1 prefix, 2 middle, 3 suffix, 0 end of text.
        prompt = requests["prompts"][0]
        assert [prompt.count(token_id) for token_id in (1, 2, 3, 0)] == [1, 1, 1, 0]
        prefix = SPECIAL_TOKENS.removesuffix(" ")  # token healing takes the space back
        expected = f"<fim_prefix><fim_suffix>\n<fim_middle> = 2\n<fim_middle>{prefix}"
        assert requests["texts"][0] == expected


async def test_a_bracket_right_of_the_cursor_is_replaced_instead_of_doubled() -> None:
    text = "🎉 = call(a, )\r\n"
    async with start(scripted("b)")) as editor:
        editor.open(text)
        answer = await editor.client.text_document_inline_completion_async(
            types.InlineCompletionParams(
                context=types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked),
                text_document=types.TextDocumentIdentifier(editor.uri),
                position=editor.position(text.index(")")),
            )
        )
        (item,) = answer.items
        assert accept(text, item, editor) == "🎉 = call(a, b)\r\n"
        assert item.command.command == "starcoder.accepted"


async def test_accepting_a_suggestion_is_acknowledged() -> None:
    async with start(scripted("1")) as editor:
        params = types.ExecuteCommandParams("starcoder.accepted", ["some-id"])
        assert await editor.client.workspace_execute_command_async(params) is None


async def test_typing_what_is_suggested_asks_the_engine_once() -> None:
    async with start(scripted("total + 1")) as editor:
        editor.open("x = ")
        assert await editor.suggestion(4) == "total + 1"
        for offset, character in enumerate("tot", start=4):
            editor.insert(offset, character)
        assert await editor.suggestion(7) == "al + 1"
        status = editor.statuses[-1]
        assert (status["why"], status["source"]) == ("typed through", "typed through")
        assert status["asked"] == 1
        assert len((await editor.engine_requests())["prompts"]) == 1


async def test_the_status_describes_the_latest_suggestion_and_the_latest_key() -> None:
    async with start(scripted("total + 1", 0.01)) as editor:
        editor.open("x = ")
        started = time.time()
        assert await editor.suggestion(4) == "total + 1"
        status = editor.statuses[-1]
        assert status["suggested"]
        assert started <= status["lastAt"] <= time.time()
        assert status["lastMs"] >= 80
        # The scripted engine sleeps for at least 10 ms per token.
        assert 1 < status["tokensPerSecond"] <= 100

        assert await editor.suggestion(0) is None
        later = editor.statuses[-1]
        assert not later["suggested"]
        assert "word" in later["why"]
        for field in ("lastAt", "lastMs", "tokensPerSecond"):
            assert later[field] == status[field]


async def test_the_item_selected_in_the_suggest_widget_is_kept() -> None:
    text = "os.pa"
    async with start(scripted(".join(a)")) as editor:
        editor.open(text)
        context = types.InlineCompletionContext(
            types.InlineCompletionTriggerKind.Automatic,
            types.SelectedCompletionInfo(
                types.Range(types.Position(0, 3), types.Position(0, 5)), "path"
            ),
        )
        answer = await editor.client.text_document_inline_completion_async(
            types.InlineCompletionParams(
                context=context,
                text_document=types.TextDocumentIdentifier(editor.uri),
                position=types.Position(0, 5),
            )
        )
        (item,) = answer.items
        assert item.insert_text == "path.join(a)"
        assert item.range == types.Range(types.Position(0, 3), types.Position(0, 5))


@pytest.mark.parametrize("text", ["", "\n", "x = 1"])
async def test_the_end_of_a_file_and_an_empty_file_are_completed(text: str) -> None:
    async with start(scripted("y = 2\n")) as editor:
        editor.open(text)
        assert await editor.suggestion(len(text), invoked=True) in ("y = 2", None)


async def test_nothing_is_suggested_within_a_word_unless_invoked() -> None:
    async with start(scripted("zz")) as editor:
        editor.open("total")
        assert await editor.suggestion(3) is None
        assert "word" in editor.statuses[-1]["why"]
        assert await editor.suggestion(3, invoked=True) == "zz"


async def test_a_client_without_inline_completion_gets_a_completion_item() -> None:
    def remove_inline_completion(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.text_document is not None
        capabilities.text_document.inline_completion = None

    async with start(scripted("ber + 1"), change_capabilities=remove_inline_completion) as editor:
        editor.open("x = num")
        answer = await editor.client.text_document_completion_async(
            types.CompletionParams(types.TextDocumentIdentifier(editor.uri), types.Position(0, 7))
        )
        (item,) = answer.items
        assert item.text_edit.new_text == "number + 1"
        assert item.text_edit.range == types.Range(types.Position(0, 4), types.Position(0, 7))
        assert item.filter_text == "num"


async def test_a_client_with_inline_completion_is_offered_only_that() -> None:
    async with start(scripted("1")) as editor:
        assert editor.server_capabilities.inline_completion_provider is not None
        assert editor.server_capabilities.completion_provider is None


async def test_a_cell_of_a_notebook_is_completed() -> None:
    cell = "notebook-cell:/book.ipynb#1"
    async with start(scripted("1 + 1")) as editor:
        editor.client.notebook_document_did_open(
            types.DidOpenNotebookDocumentParams(
                types.NotebookDocument(
                    "file:///book.ipynb",
                    "jupyter-notebook",
                    1,
                    [types.NotebookCell(types.NotebookCellKind.Code, cell)],
                ),
                [types.TextDocumentItem(cell, "python", 1, "x = ")],
            )
        )
        editor.text, editor.uri = "x = ", cell
        assert await editor.suggestion(4) == "1 + 1"


async def test_the_prompt_of_a_cell_contains_the_cells_before_it() -> None:
    async with start(scripted("value")) as editor:
        uris = [f"file:///work-space/book.ipynb#c{number}" for number in range(3)]
        texts = ["import os\n", "first = ", "second = "]
        notebook = types.NotebookDocument(
            "file:///work-space/book.ipynb",
            "jupyter-notebook",
            1,
            [types.NotebookCell(types.NotebookCellKind.Code, uri) for uri in uris],
        )
        items = [
            types.TextDocumentItem(uri, "python", 1, text)
            for uri, text in zip(uris, texts, strict=True)
        ]
        editor.client.notebook_document_did_open(
            types.DidOpenNotebookDocumentParams(notebook, items)
        )
        for number, cells_before in ((1, ["import os"]), (2, ["import os", "first = "])):
            editor.text, editor.uri = texts[number], uris[number]
            assert await editor.suggestion(len(editor.text), invoked=True) == "value"
            prompt = (await editor.engine_requests())["texts"][-1]
            assert all(text in prompt for text in cells_before)
            assert editor.text.rstrip() in prompt
