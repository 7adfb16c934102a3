"""The server's text stays the client's, whatever is typed and however columns are counted."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from lsp_server.session.documents import Document, LineIndex

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
CHARACTERS = ["a", "é", "漢", "🎉", "\r\n", "\r", "\n", "\x0c", "\u2028", "\x85", "\v", " "]
pieces = st.lists(st.sampled_from(CHARACTERS), max_size=12).map("".join)


def units(text: str, encoding: str) -> int:
    """How many units of an encoding a text has, by Python's own codecs."""
    name = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    return len(text.encode(name)) // {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]


def position_of(text: str, offset: int, encoding: str) -> types.Position:
    """The position of an offset, worked out apart from the product's code."""
    ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
    # An offset between \r and \n has no position of its own: it is that of the line's end.
    line = sum(end <= offset for end in ends)
    start = ends[line - 1] if line else 0
    shown = text[start:offset].rstrip("\r\n")
    return types.Position(line, units(shown, encoding))


def splits_a_line_end(text: str, offset: int) -> bool:
    return text[offset - 1 : offset + 1] == "\r\n"


def document(text: str, encoding: str) -> Document:
    codec = PositionCodec(encoding=types.PositionEncodingKind(encoding))
    return Document("file:///a", text, 1, "python", position_codec=codec)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_edits_leave_the_text_the_clients(encoding: str, data: st.DataObject) -> None:
    text = data.draw(pieces)
    ours = document(text, encoding)
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        if splits_a_line_end(text, start) or splits_a_line_end(text, end):
            continue
        inserted = data.draw(pieces)
        span = types.Range(position_of(text, start, encoding), position_of(text, end, encoding))
        ours.apply_change(types.TextDocumentContentChangePartial(range=span, text=inserted))
        text = text[:start] + inserted + text[end:]
        assert ours.source == text
        assert ours.index.starts == LineIndex(text).starts
        assert "".join(ours.lines) == text


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=pieces, data=st.data())
def test_positions_go_there_and_back(encoding: str, text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    if splits_a_line_end(text, offset):
        return
    index = LineIndex(text)
    position = index.position(offset, encoding)
    assert position == position_of(text, offset, encoding)
    assert index.offset(position, encoding) == offset


@given(text=pieces, line=st.integers(0, 30), character=st.integers(0, 30))
def test_positions_beyond_the_text_are_clamped(text: str, line: int, character: int) -> None:
    index = LineIndex(text)
    offset = index.offset(types.Position(line, character), "utf-16")
    assert 0 <= offset <= len(text)
    lines = re.split(r"\r\n|\r|\n", text)
    if line >= len(lines):
        assert offset == len(text)
    else:
        # Never beyond the end of its own line, and never within a character.
        assert index.position(offset, "utf-16").line == line


def test_an_empty_document_has_one_place() -> None:
    index = LineIndex("")
    assert index.offset(types.Position(5, 5), "utf-16") == 0
    assert index.position(0, "utf-16") == types.Position(0, 0)


def test_half_a_surrogate_pair_is_before_the_character() -> None:
    assert LineIndex("🎉x").offset(types.Position(0, 1), "utf-16") == 0
    assert LineIndex("🎉x").offset(types.Position(0, 2), "utf-16") == 1
