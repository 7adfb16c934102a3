"""Text as an editor sees it: converts positions to offsets and back, and applies edits.

A text is kept in pieces of limited length. A key press in a long file, or in a long line, then
costs as much as in a short one: an edit replaces a few pieces, and a conversion scans one piece and
adds up numbers that each piece knows.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, islice

from lsprotocol import types

from lsp_server.session.surrogates import join_pairs, replace_surrogates

Encoding = types.PositionEncodingKind | str

_LINE_ENDING = re.compile(r"\r\n|\r|\n")
_PIECE_CHARACTERS = 8192
_LAST_SINGLE_UNIT = 0xFFFF
"""Largest code point that is one code unit in UTF-16."""


class _Piece:
    """A part of a text. A pair of carriage return and line feed is never separated."""

    __slots__ = ("_num_units", "_well_formed", "num_line_ends", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.num_line_ends = _num_line_ends(text)
        self._num_units: dict[str, int] = {}
        self._well_formed: _Piece | None = self if text.isascii() else None

    def num_units(self, encoding: Encoding) -> int:
        """Return the number of code units of the piece."""
        units = self._num_units.get(encoding)
        if units is None:
            units = self._num_units[encoding] = _to_units(self.text, encoding)
        return units

    def well_formed(self) -> _Piece:
        """Return a piece with U+FFFD in place of lone surrogates."""
        if self._well_formed is None:
            text = replace_surrogates(self.text)
            self._well_formed = self if text is self.text else _Piece(text)
        return self._well_formed


class LineIndex:
    """A text that does not change, with fast conversions between positions and offsets.

    Offsets count code points. LSP 3.18, "Text Documents" and "Position": a line number that is too
    large means the end of the text, a character that is too large means the end of the line, before
    its line ending.
    """

    def __init__(self, text: str) -> None:
        self._set_pieces(_pieces(text))
        self.text = text

    @classmethod
    def _of(cls, pieces: Sequence[_Piece]) -> LineIndex:
        index = cls.__new__(cls)
        index._set_pieces(pieces)
        return index

    def _set_pieces(self, pieces: Sequence[_Piece]) -> None:
        self._pieces = pieces or (_Piece(""),)
        self._offsets = [0, *accumulate(len(piece.text) for piece in self._pieces)]
        """The offsets at which the pieces begin, and the length of the text."""
        self._lines = [0, *accumulate(piece.num_line_ends for piece in self._pieces)]
        """The lines in which the pieces begin, and the last line of the text."""

    @cached_property
    def text(self) -> str:
        """The whole text. It is put together when it is needed first."""
        return "".join([piece.text for piece in self._pieces])

    def __len__(self) -> int:
        """Return the number of code points."""
        return self._offsets[-1]

    @property
    def starts(self) -> list[int]:
        """The offsets at which the lines begin."""
        return [0, *(match.end() for match in _LINE_ENDING.finditer(self.text))]

    @cached_property
    def well_formed(self) -> LineIndex:
        """The text without lone surrogates; all offsets and positions are the same."""
        pieces = [piece.well_formed() for piece in self._pieces]
        is_same = all(new is old for new, old in zip(pieces, self._pieces, strict=True))
        return self if is_same else self._of(pieces)

    def after_edit(self, start: int, end: int, inserted: str) -> LineIndex:
        """Return the text after an edit."""
        # One piece more on each side, since an edit may join a carriage return and a line feed.
        first = max(0, self._piece_at(start) - 1)
        last = min(len(self._pieces), self._piece_at(end) + 2)
        text = "".join([piece.text for piece in self._pieces[first:last]])
        begin = self._offsets[first]
        text = text[: start - begin] + inserted + text[end - begin :]
        return self._of([*self._pieces[:first], *_pieces(text), *self._pieces[last:]])

    # Positions.

    def offset(self, position: types.Position, encoding: Encoding) -> int:
        """Return the offset of a position, clamped to the text."""
        if position.line > self._lines[-1]:
            return len(self)
        offset = self._line_start(position.line)
        remaining = position.character
        for number in range(self._piece_at(offset), len(self._pieces)):
            piece = self._pieces[number]
            local = offset - self._offsets[number]
            line_end = _line_end(piece.text, local)
            if line_end is not None:
                return offset + _to_code_points(piece.text[local:line_end], remaining, encoding)
            rest = piece.text[local:] if local else piece.text
            units = _to_units(rest, encoding) if local else piece.num_units(encoding)
            if remaining < units:
                return offset + _to_code_points(rest, remaining, encoding)
            remaining -= units
            offset += len(rest)
        return offset

    def position(self, offset: int, encoding: Encoding) -> types.Position:
        """Return the position of an offset between 0 and the length of the text."""
        number = self._piece_at(offset)
        piece = self._pieces[number]
        before = piece.text[: offset - self._offsets[number]]
        splits_line_ending = before.endswith("\r") and self.character(offset) == "\n"
        scanned = before[:-1] if splits_line_ending else before
        line = self._lines[number] + _num_line_ends(scanned)
        start = _last_line_start(scanned)
        units = _to_units(before[start or 0 :], encoding)
        while start is None and number > 0:
            number -= 1
            piece = self._pieces[number]
            start = _last_line_start(piece.text)
            units += _to_units(piece.text[start:], encoding) if start else piece.num_units(encoding)
        return types.Position(line, units)

    def character(self, offset: int) -> str:
        """Return the character at an offset, empty at the end of the text."""
        number = self._piece_at(offset)
        local = offset - self._offsets[number]
        return self._pieces[number].text[local : local + 1]

    # Halves of characters.

    def split(self, position: types.Position, encoding: Encoding) -> tuple[int, bool]:
        """Return the offset of a position, and whether it lies inside the character there.

        Only in UTF-16: an editor that stores UTF-16 splits a character into its two halves then.
        """
        offset = self.offset(position, encoding)
        character = self.character(offset)
        if encoding != types.PositionEncodingKind.Utf16 or not character:
            return offset, False
        if ord(character) <= _LAST_SINGLE_UNIT:
            return offset, False
        before = self.position(offset, encoding)
        return offset, before.line == position.line and before.character < position.character

    def with_neighbours(self, start: int, end: int, inserted: str) -> tuple[int, int, str]:
        """Return the same edit, larger by halves of characters that it completes."""
        if start > 0 and _is_surrogate(self.character(start - 1)):
            start -= 1
            inserted = self.character(start) + inserted
        if _is_surrogate(self.character(end)):
            inserted += self.character(end)
            end += 1
        return start, end, join_pairs(inserted)

    # Pieces.

    def _piece_at(self, offset: int) -> int:
        """Return the number of the piece that contains an offset, the last one at the end."""
        return min(bisect_right(self._offsets, offset) - 1, len(self._pieces) - 1)

    def _line_start(self, line: int) -> int:
        """Return the offset at which a line begins."""
        if line == 0:
            return 0
        number = bisect_left(self._lines, line) - 1
        count = line - self._lines[number]
        endings = _LINE_ENDING.finditer(self._pieces[number].text)
        match = next(islice(endings, count - 1, None))
        return self._offsets[number] + match.end()


def _pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARACTERS
        if text[end - 1 : end + 1] == "\r\n":
            end += 1
        pieces.append(_Piece(text[start:end]))
        start = end
    return pieces


def _num_line_ends(text: str) -> int:
    if "\r" not in text:
        return text.count("\n")
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _line_end(text: str, start: int) -> int | None:
    """Return the offset of the first line ending from `start` on."""
    line_feed = text.find("\n", start)
    carriage_return = text.find("\r", start, line_feed if line_feed >= 0 else len(text))
    if carriage_return >= 0:
        return carriage_return
    return line_feed if line_feed >= 0 else None


def _last_line_start(text: str) -> int | None:
    """Return the offset after the last line ending."""
    start = max(text.rfind("\n"), text.rfind("\r")) + 1
    return start or None


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
