"""Converts offsets in bytes, which syntax trees count, and offsets in code points."""

from __future__ import annotations

import re
from itertools import accumulate

_BLOCK_BYTES = 4096
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""
_LONE_CARRIAGE_RETURN = re.compile(r"\r(?!\n)")


def with_line_feeds(text: str) -> str:
    """Return a text of the same length in which a carriage return alone is a line feed.

    A carriage return alone ends a line in LSP, but hardly in any grammar.
    """
    return _LONE_CARRIAGE_RETURN.sub("\n", text) if "\r" in text else text


class ByteOffsets:
    """Converts offsets in one text. The time of a conversion does not grow with the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.source = text.encode("utf-8", "surrogatepass")
        self._is_ascii = len(self.source) == len(text)
        starts = () if self._is_ascii else range(0, len(self.source), _BLOCK_BYTES)
        sizes = (self._num_characters(start, start + _BLOCK_BYTES) for start in starts)
        self._before = [0, *accumulate(sizes)]
        """Number of code points before each block of bytes."""

    def to_characters(self, offset: int) -> int:
        """Return the offset in code points of an offset in bytes."""
        if self._is_ascii:
            return offset
        block = offset // _BLOCK_BYTES
        return self._before[block] + self._num_characters(block * _BLOCK_BYTES, offset)

    def to_bytes(self, offset: int) -> int:
        """Return the offset in bytes of an offset in code points."""
        return (
            offset if self._is_ascii else len(self.text[:offset].encode("utf-8", "surrogatepass"))
        )

    def _num_characters(self, start: int, end: int) -> int:
        return len(self.source[start:end].translate(None, _CONTINUATION_BYTES))
