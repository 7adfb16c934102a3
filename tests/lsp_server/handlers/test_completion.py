"""The item of a completion list inserts the suggestion and loses no text around it."""

import pytest
from hypothesis import given
from lsprotocol import types

from lsp_server.handlers.completion import to_item
from tests.lsp_server.handlers.client_text import (
    ENCODINGS,
    apply_edit,
    open_document,
    splits_line_ending,
    suggest,
    texts,
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(before=texts, after=texts, output=texts)
def test_a_completion_item_is_inserted_between_prefix_and_suffix(
    encoding: str, before: str, after: str, output: str
) -> None:
    if splits_line_ending(before, after):
        return
    snapshot, suggestions = suggest(before, after, output)
    document = open_document(snapshot.text, encoding)
    for suggestion in suggestions:
        edit = to_item(suggestion, snapshot, document.index, encoding).text_edit
        assert isinstance(edit, types.TextEdit)
        result = apply_edit(snapshot.text, edit.range, edit.new_text, encoding)
        rest = after[suggestion.replace_end - len(before) :]
        assert result == before + suggestion.text + rest
