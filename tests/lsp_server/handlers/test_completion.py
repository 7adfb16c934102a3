"""The item of a completion list inserts the suggestion and loses no text around it."""

import pytest
from hypothesis import given
from lsprotocol import types

from fim.snapshot import Snapshot, Source, Suggestion
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


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("\n", "(white space)"),
        ("\n    return 1\n", "return 1"),
        ("\r\n\r\n\tx = 1", "x = 1"),
        ("    ", "(white space)"),
        ("\u2028\x0c\x0b\x85", "(white space)"),
        ("\x0c\nb", "b"),
        ("\u200b\ufeff\n\x00c", "\x00c"),
        ("", "(white space)"),
        ("a" * 100, "a" * 60),
        ("  a  \n b", "a"),
    ],
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_item_has_a_label(text: str, label: str, encoding: str) -> None:
    snapshot = Snapshot("file:///a.py", "python", "x = \n", 4)
    suggestion = Suggestion("id", text, 4, 4, Source.MODEL)
    document = open_document(snapshot.text, encoding)
    item = to_item(suggestion, snapshot, document.index, encoding)
    assert item.label == label
    assert item.text_edit is not None
    assert item.text_edit.new_text == text
    assert item.filter_text or not text
