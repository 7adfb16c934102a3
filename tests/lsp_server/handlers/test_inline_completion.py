"""A suggestion is sent to the client and applied there: no text around it is lost.

For any text, cursor and model output, the client's file consists of the text before the cursor, the
suggestion, and the text after the cursor without the part that the suggestion replaces. The
suggestion contains all characters of the replaced part, in the same order.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types

from fim.snapshot import SelectedText
from lsp_server.handlers.inline_completion import to_item
from tests.lsp_server.handlers.client_text import (
    ENCODINGS,
    apply_edit,
    code,
    contains_in_order,
    open_document,
    splits_line_ending,
    suggest,
    texts,
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=300)
@given(before=texts, after=texts, output=texts)
def test_a_suggestion_is_inserted_between_prefix_and_suffix(
    encoding: str, before: str, after: str, output: str
) -> None:
    if splits_line_ending(before, after):
        return
    snapshot, suggestions = suggest(before, after, output)
    for suggestion in suggestions:
        document = open_document(snapshot.text, encoding)
        item = to_item(suggestion, document.index, document.encoding)
        assert isinstance(item.insert_text, str)
        assert item.range is not None
        result = apply_edit(snapshot.text, item.range, item.insert_text, encoding)
        replaced = snapshot.text[suggestion.replace_start : suggestion.replace_end]
        assert suggestion.replace_start == len(before)
        assert after.startswith(replaced)
        assert result == before + suggestion.text + after[len(replaced) :]
        assert contains_in_order(suggestion.text, replaced)
        # The server's document, which receives the acceptance as an edit, equals the client's.
        change = types.TextDocumentContentChangePartial(range=item.range, text=item.insert_text)
        document.apply_change(change)
        assert document.source == result


@given(before=code, word=st.from_regex(r"[a-zé_]{0,6}", fullmatch=True), after=code, output=code)
def test_a_suggestion_continues_the_item_selected_in_the_suggest_widget(
    before: str, word: str, after: str, output: str
) -> None:
    """The selected item is inserted too, and the text around it stays."""
    text = before + word
    if splits_line_ending(text, after):
        return
    selected = SelectedText(len(before), len(text), word + "Selected")
    snapshot, suggestions = suggest(text, after, output, selected)
    for suggestion in suggestions:
        result = suggestion.applied_to(snapshot.text)
        assert suggestion.text.startswith(selected.text)
        replaced = snapshot.text[len(text) : suggestion.replace_end]
        assert result == before + suggestion.text + after[len(replaced) :]
        assert contains_in_order(suggestion.text.removeprefix(selected.text), replaced)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_suggestion_in_an_empty_file_is_inserted(encoding: str) -> None:
    snapshot, (suggestion,) = suggest("", "", "import os\n")
    document = open_document(snapshot.text, encoding)
    item = to_item(suggestion, document.index, document.encoding)
    assert item.range is not None
    assert apply_edit("", item.range, str(item.insert_text), encoding) == "import os"
