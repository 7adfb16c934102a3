"""Documents as LSP defines them: three kinds of line endings, three position encodings.

pygls splits lines as Python does, where a form feed, a vertical tab or U+2028 ends a line. For an
editor they do not end a line, so pygls would apply an edit after one of them at a wrong position.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

from lsprotocol import types

from lsp_server.session.pygls_workspace import EditableDocument
from lsp_server.session.surrogates import halves, join_pairs, replace_surrogates

_LINE_ENDING = re.compile(r"\r\n|\r|\n")

_LAST_SINGLE_UNIT = 0xFFFF
"""Largest code point that is one code unit in UTF-16."""

Encoding = types.PositionEncodingKind | str


def _line_starts(text: str, offset: int) -> list[int]:
    """Return the offsets of the lines after the first one; `text` itself begins at `offset`."""
    return [offset + match.end() for match in _LINE_ENDING.finditer(text)]


class LineIndex:
    """The line starts of a text. Converts positions to code point offsets and back.

    LSP 3.18, "Text Documents" and "Position": a line number that is too large means the end of the
    text, a character that is too large means the end of the line, before its line ending.
    """

    def __init__(self, text: str, starts: list[int] | None = None) -> None:
        self.text = text
        self.starts = [0, *_line_starts(text, 0)] if starts is None else starts

    def after_edit(self, start: int, end: int, inserted: str) -> LineIndex:
        """Return the index after an edit; only the lines around the edit are scanned again.

        The lines before and after are scanned too, since an edit may join or separate a carriage
        return and a line feed.
        """
        text = self.text[:start] + inserted + self.text[end:]
        growth = len(inserted) - (end - start)
        first = max(0, bisect_right(self.starts, start) - 2)
        after = min(bisect_right(self.starts, end) + 1, len(self.starts))
        stop = (self.starts[after] if after < len(self.starts) else len(self.text) + 1) + growth
        scanned = _line_starts(text[self.starts[first] : stop], self.starts[first])
        middle = [offset for offset in scanned if offset < stop]
        later = [offset + growth for offset in self.starts[after:]]
        return LineIndex(text, self.starts[: first + 1] + middle + later)

    def offset(self, position: types.Position, encoding: Encoding) -> int:
        """Return the offset of a position, clamped to the text."""
        if position.line >= len(self.starts):
            return len(self.text)
        start = self.starts[position.line]
        line = self._line(position.line)
        return start + _to_code_points(line, position.character, encoding)

    def split(self, position: types.Position, encoding: Encoding) -> tuple[int, bool]:
        """Return the offset of a position, and whether it lies inside the character there.

        Only in UTF-16: an editor that stores UTF-16 splits a character into its two halves then.
        """
        offset = self.offset(position, encoding)
        if encoding != types.PositionEncodingKind.Utf16 or offset >= len(self.text):
            return offset, False
        is_wide = ord(self.text[offset]) > _LAST_SINGLE_UNIT
        before = self.position(offset, encoding)
        return offset, is_wide and before.line == position.line and (
            before.character < position.character
        )

    def with_neighbours(self, start: int, end: int, inserted: str) -> tuple[int, int, str]:
        """Return the same edit, larger by halves of characters that it completes."""
        if start > 0 and _is_surrogate(self.text[start - 1]):
            start -= 1
            inserted = self.text[start] + inserted
        if end < len(self.text) and _is_surrogate(self.text[end]):
            inserted += self.text[end]
            end += 1
        return start, end, join_pairs(inserted)

    def position(self, offset: int, encoding: Encoding) -> types.Position:
        """Return the position of an offset between 0 and the length of the text."""
        line = bisect_right(self.starts, offset) - 1
        start = self.starts[line]
        return types.Position(line, _to_units(self.text[start:offset], encoding))

    def _line(self, number: int) -> str:
        """Return a line without its line ending."""
        is_last = number + 1 >= len(self.starts)
        end = len(self.text) if is_last else self.starts[number + 1]
        return self.text[self.starts[number] : end].rstrip("\r\n")


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _to_units(text: str, encoding: Encoding) -> int:
    """Return the number of code units of a text."""
    if encoding == types.PositionEncodingKind.Utf32 or text.isascii():
        return len(text)
    if encoding == types.PositionEncodingKind.Utf8:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _to_code_points(line: str, units: int, encoding: Encoding) -> int:
    """Return the number of whole characters in the first `units` code units of a line."""
    if units <= 0:
        return 0
    if encoding == types.PositionEncodingKind.Utf32 or line.isascii():
        return min(units, len(line))
    name = "utf-8" if encoding == types.PositionEncodingKind.Utf8 else "utf-16-le"
    size = units if name == "utf-8" else 2 * units
    # A replaced surrogate has the same size in both encodings.
    head = replace_surrogates(line).encode(name)[:size]
    return len(head.decode(name, "ignore"))


class Document(EditableDocument):
    """A text document whose lines end where they end in an editor.

    `_source`, the text that edits change, is exactly the client's. `source`, the text that all else
    reads, has U+FFFD in place of lone surrogates, which no tokenizer and no file can contain. Both
    have the same positions.
    """

    _index: LineIndex | None = None
    """The line index of `_source`, or of `source`."""
    _well_formed: tuple[str, str] = ("", "")
    """An exact text and the same text without lone surrogates."""

    @property
    def source(self) -> str:
        """The text, without lone surrogates."""
        exact = self._source or ""
        if self._well_formed[0] is not exact:
            self._well_formed = exact, replace_surrogates(exact)
        return self._well_formed[1]

    @property
    def index(self) -> LineIndex:
        """The line index of the current text."""
        return self.index_of(self.source)

    def index_of(self, text: str) -> LineIndex:
        """Return the line index of the current text or of an earlier text of this document."""
        if self._index is not None and self._index.text is text:
            return self._index
        index = LineIndex(text)
        if text is self.source:
            self._index = index
        return index

    @property
    def encoding(self) -> Encoding:
        """The client's position encoding."""
        return self.position_codec.encoding or types.PositionEncodingKind.Utf16

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines with their line endings, as pygls expects them."""
        starts = [*self.index.starts, len(self.source)]
        lines = (self.source[start:end] for start, end in pairwise(starts))
        return tuple(line for line in lines if line)

    def offset_at_position(self, client_position: types.Position) -> int:
        """Return the offset of a position in code points."""
        return self.index.offset(client_position, self.encoding)

    def text_after(self, change: types.TextDocumentContentChangePartial) -> str:
        """Return the text after an edit, and keep its line index."""
        index = self._exact_index
        start, first_half = index.split(change.range.start, self.encoding)
        end, second_half = index.split(change.range.end, self.encoding)
        if (end, second_half) < (start, first_half):
            end, second_half = start, first_half
        text = change.text
        if first_half:
            text = halves(index.text[start])[0] + text
        if second_half:
            text += halves(index.text[end])[1]
            end += 1
        self._index = index.after_edit(*index.with_neighbours(start, end, text))
        return self._index.text

    @property
    def _exact_index(self) -> LineIndex:
        exact = self._source or ""
        is_current = self._index is not None and self._index.text is exact
        return self._index if is_current and self._index is not None else LineIndex(exact)
