"""Documents as the protocol counts them: three line ends, three encodings of columns.

pygls splits lines as Python does, where a form feed, a vertical tab or U+2028 ends a line; to an
editor they do not, and an edit after one would land in the wrong place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

from lsprotocol import types
from pygls.workspace import TextDocument, Workspace

_LINE_END = re.compile(r"\r\n|\r|\n")


def _starts_in(text: str, offset: int) -> list[int]:
    return [offset + match.end() for match in _LINE_END.finditer(text)]


class LineIndex:
    """Where the lines of a text begin; positions to offsets in code points, and back.

    LSP 3.18, "Text Documents" and "Position": a line too far is the end of the text, a character
    too far is the end of the line, before its line end.
    """

    def __init__(self, text: str, starts: list[int] | None = None) -> None:
        self.text = text
        self.starts = [0, *_starts_in(text, 0)] if starts is None else starts

    def replaced(self, start: int, end: int, inserted: str) -> LineIndex:
        """Return the index after an edit; only the lines around it are looked at again.

        A neighbouring line on either side is among them, since an edit may join or part a
        carriage return and a line feed.
        """
        text = self.text[:start] + inserted + self.text[end:]
        grown = len(inserted) - (end - start)
        first = max(0, bisect_right(self.starts, start) - 2)
        after = min(bisect_right(self.starts, end) + 1, len(self.starts))
        stop = (self.starts[after] if after < len(self.starts) else len(self.text) + 1) + grown
        seen = _starts_in(text[self.starts[first] : stop], self.starts[first])
        middle = [at for at in seen if at < stop]
        later = [at + grown for at in self.starts[after:]]
        return LineIndex(text, self.starts[: first + 1] + middle + later)

    def offset(self, position: types.Position, encoding: types.PositionEncodingKind | str) -> int:
        """Return the offset of a position, clamped to the text."""
        if position.line >= len(self.starts):
            return len(self.text)
        start = self.starts[position.line]
        line = self._line(position.line)
        return start + _code_points(line, position.character, encoding)

    def position(self, offset: int, encoding: types.PositionEncodingKind | str) -> types.Position:
        """Return the position of an offset, which may be anywhere from 0 to the text's length."""
        line = bisect_right(self.starts, offset) - 1
        start = self.starts[line]
        return types.Position(line, _units(self.text[start:offset], encoding))

    def _line(self, number: int) -> str:
        """A line without its end."""
        last = number + 1 >= len(self.starts)
        end = len(self.text) if last else self.starts[number + 1]
        return self.text[self.starts[number] : end].rstrip("\r\n")


def _units(text: str, encoding: types.PositionEncodingKind | str) -> int:
    if encoding == types.PositionEncodingKind.Utf32 or text.isascii():
        return len(text)
    if encoding == types.PositionEncodingKind.Utf8:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _code_points(line: str, units: int, encoding: types.PositionEncodingKind | str) -> int:
    """Return how many characters the first `units` units of a line are; never half a one."""
    if units <= 0:
        return 0
    if encoding == types.PositionEncodingKind.Utf32 or line.isascii():
        return min(units, len(line))
    name = "utf-8" if encoding == types.PositionEncodingKind.Utf8 else "utf-16-le"
    size = units if name == "utf-8" else 2 * units
    head = line.encode(name, "surrogatepass")[:size]
    return len(head.decode(name, "ignore"))


class Document(TextDocument):
    """A text document whose lines end where an editor's do."""

    _index: LineIndex | None = None

    @property
    def index(self) -> LineIndex:
        """Where the lines of the present text begin."""
        return self.index_of(self.source)

    def index_of(self, text: str) -> LineIndex:
        """Return the index of a text that this document has, or had a moment ago."""
        if self._index is not None and self._index.text is text:
            return self._index
        index = LineIndex(text)
        if text is self._source:
            self._index = index
        return index

    @property
    def encoding(self) -> types.PositionEncodingKind | str:
        """How the client counts columns."""
        return self._position_codec.encoding or types.PositionEncodingKind.Utf16

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines with their ends, as pygls wants them."""
        starts = [*self.index.starts, len(self.source)]
        found = (self.source[a:b] for a, b in pairwise(starts))
        return tuple(line for line in found if line)

    def offset_at_position(self, client_position: types.Position) -> int:
        """Return the offset in code points."""
        return self.index.offset(client_position, self.encoding)

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        start = self.offset_at_position(change.range.start)
        end = max(start, self.offset_at_position(change.range.end))
        self._index = self.index.replaced(start, end, change.text)
        self._source = self._index.text


class DocumentWorkspace(Workspace):
    """A workspace of such documents."""

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> Document:
        return Document(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )
