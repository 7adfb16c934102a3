"""The server's text stays equal to the client's, for all edits and position encodings."""

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from lsp_server.session import line_index
from lsp_server.session.documents import Document
from lsp_server.session.line_index import LineIndex

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
CHARACTERS = ["a", "é", "漢", "🎉", "\r\n", "\r", "\n", "\x0c", "\u2028", "\x85", "\v", " "]
texts = st.lists(st.sampled_from(CHARACTERS), max_size=12).map("".join)


def num_units(text: str, encoding: str) -> int:
    """Return the number of code units of a text, computed with Python's codecs."""
    name = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    return len(text.encode(name)) // {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]


def position_of(text: str, offset: int, encoding: str) -> types.Position:
    """Return the position of an offset, computed without the product's code."""
    ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
    # An offset between \r and \n has no position of its own: it has that of the line's end.
    line = sum(end <= offset for end in ends)
    start = ends[line - 1] if line else 0
    before = text[start:offset].rstrip("\r\n")
    return types.Position(line, num_units(before, encoding))


def splits_line_ending(text: str, offset: int) -> bool:
    return text[offset - 1 : offset + 1] == "\r\n"


def open_document(text: str, encoding: str) -> Document:
    codec = PositionCodec(encoding=types.PositionEncodingKind(encoding))
    return Document("file:///a", text, 1, "python", position_codec=codec)


@pytest.fixture(params=[2, 3, 8192])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the texts in pieces of different lengths; short ones separate everything."""
    monkeypatch.setattr(line_index, "_PIECE_CHARACTERS", request.param)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.usefixtures("_pieces")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_edits_give_the_same_text_as_in_the_client(encoding: str, data: st.DataObject) -> None:
    text = data.draw(texts)
    document = open_document(text, encoding)
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        if splits_line_ending(text, start) or splits_line_ending(text, end):
            continue
        inserted = data.draw(texts)
        range_ = types.Range(position_of(text, start, encoding), position_of(text, end, encoding))
        document.apply_change(types.TextDocumentContentChangePartial(range=range_, text=inserted))
        text = text[:start] + inserted + text[end:]
        assert document.source == text
        assert document.index.starts == LineIndex(text).starts
        assert "".join(document.lines) == text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.usefixtures("_pieces")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, data=st.data())
def test_a_position_converts_to_an_offset_and_back(
    encoding: str, text: str, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, len(text)))
    if splits_line_ending(text, offset):
        return
    index = LineIndex(text)
    position = index.position(offset, encoding)
    assert position == position_of(text, offset, encoding)
    assert index.offset(position, encoding) == offset


@pytest.mark.usefixtures("_pieces")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, line=st.integers(0, 30), character=st.integers(0, 30))
def test_positions_beyond_the_text_are_clamped(text: str, line: int, character: int) -> None:
    index = LineIndex(text)
    offset = index.offset(types.Position(line, character), "utf-16")
    assert 0 <= offset <= len(text)
    lines = re.split(r"\r\n|\r|\n", text)
    if line >= len(lines):
        assert offset == len(text)
    else:
        # The offset is not beyond the end of its line.
        assert index.position(offset, "utf-16").line == line


def test_an_empty_document_has_one_position() -> None:
    index = LineIndex("")
    assert index.offset(types.Position(5, 5), "utf-16") == 0
    assert index.position(0, "utf-16") == types.Position(0, 0)


def test_a_position_within_a_surrogate_pair_is_before_the_character() -> None:
    assert LineIndex("🎉x").offset(types.Position(0, 1), "utf-16") == 0
    assert LineIndex("🎉x").offset(types.Position(0, 2), "utf-16") == 1


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize(
    ("text", "start", "end", "inserted", "expected"),
    [
        ("a🎉b", 2, 3, "", "a\ufffdb"),  # the second half is deleted
        ("a🎉b", 1, 2, "", "a\ufffdb"),  # the first half
        ("a🎉b", 2, 2, "x", "a\ufffdx\ufffdb"),
        ("🎉🎉", 1, 3, "", "🎉"),  # the two halves that remain form a character
        ("a\ud83d", 2, 2, "\ude00", "a😀"),
        ("\ude00b", 0, 0, "\ud83d", "😀b"),
        ("a\ud83dxb", 2, 2, "é", "a\ufffdéxb"),
    ],
)
def test_an_edit_may_split_and_join_surrogate_pairs(
    text: str, start: int, end: int, inserted: str, expected: str
) -> None:
    document = open_document(text, "utf-16")
    range_ = types.Range(types.Position(0, start), types.Position(0, end))
    document.apply_change(types.TextDocumentContentChangePartial(range=range_, text=inserted))
    assert document.source == expected
    assert document.index.starts == [0]


def test_an_index_stays_as_it_is_when_the_document_is_edited() -> None:
    document = open_document("a\nb🎉c\n", "utf-16")
    index = document.index
    range_ = types.Range(types.Position(0, 0), types.Position(1, 0))
    document.apply_change(types.TextDocumentContentChangePartial(range=range_, text="x"))
    assert (index.text, document.source) == ("a\nb🎉c\n", "xb🎉c\n")
    assert index.position(4, "utf-16") == types.Position(1, 3)
    whole = types.TextDocumentContentChangeWholeDocument(text="\ud83d\r")
    document.apply_change(whole)
    assert (document.source, document.exact_text) == ("\ufffd\r", "\ud83d\r")
    assert document.lines == ("\ufffd\r",)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_long_line_has_the_same_positions_as_a_short_one(encoding: str) -> None:
    text = "é🎉a" * 9_000 + "\r\n" + "b" * 20_000 + "\r" + "漢" * 10_000
    index = LineIndex(text)
    for offset in (0, 1, 8_191, 8_192, 8_193, 26_999, 27_000, 27_002, 40_000, 47_002, len(text)):
        position = position_of(text, offset, encoding)
        assert index.position(offset, encoding) == position
        assert index.offset(position, encoding) == offset
    assert index.offset(types.Position(0, 10**9), encoding) == 27_000
    assert index.offset(types.Position(1, 10**9), encoding) == 47_002
    assert len(index) == len(text)


@pytest.mark.parametrize("text", ["é🎉" * 500_000, "x = 1\n" * 1_000_000, "\n" * 2_000_000])
def test_many_edits_of_a_long_text_take_no_time(text: str) -> None:
    document = open_document(text, "utf-16")
    position = document.index.position(len(text) // 2, "utf-16")
    range_ = types.Range(position, position)
    started = time.process_time()
    for _ in range(50):
        document.apply_change(types.TextDocumentContentChangePartial(range=range_, text="x"))
        document.offset_at_position(position)
    assert time.process_time() - started < 5 * 0.5
    assert "x" * 50 in document.source
