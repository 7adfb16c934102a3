"""An index of texts that finds the places whose text before them ends like a given text.

It is a suffix array (Manber and Myers 1993) of the reversed texts, built by libdivsufsort. The text
before a cursor, reversed, is the beginning of a suffix there. So one binary search finds its
neighbours, and the places with the longest match come first when one walks away from it. Matches
that are shorter follow by themselves.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SEPARATOR = "\0"
"""Character between texts, and in place of hidden text. No match contains it."""

MAX_MATCH_BYTES = 512
"""Maximum bytes before a place that are compared."""

_ZERO = SEPARATOR.encode()
_BLOCK_BYTES = 512
"""Distance of the places for which the number of characters before them is stored."""
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""


class Hit(NamedTuple):
    """A place in one of the texts."""

    document: int
    """Number of the text."""
    match_length: int
    """Number of characters before the place that equal the end of the context."""
    position: int
    """Position of the place in the index."""


class SuffixIndex:
    """The places in some texts; it never changes."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Build the index. Most of this runs without the interpreter lock."""
        backwards, self._starts = [_ZERO], [1]
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            backwards += (encoded[::-1], _ZERO)
            self._starts.append(self._starts[-1] + len(encoded) + 1)
        # Positions count bytes from the start of the first text, whatever the order of the bytes.
        self._reversed = b"".join(reversed(backwards))
        self._num_bytes = len(self._reversed)
        self._is_ascii = self._reversed.isascii()
        self._suffixes, self._num_before = _sort(self._reversed, is_ascii=self._is_ascii)

    @property
    def num_memory_bytes(self) -> int:
        """Number of bytes that the index takes."""
        return self._num_bytes + self._suffixes.nbytes + self._num_before.nbytes

    def text(self, document: int) -> str:
        """Return one of the texts."""
        return self._decode(self._starts[document], self._starts[document + 1] - 1)

    def hits(self, context: str) -> Iterator[Hit]:
        """Yield the places whose text before them ends like a context, the longest match first."""
        tail = context[-MAX_MATCH_BYTES:].rpartition(SEPARATOR)[2]
        query = tail.encode("utf-8", "surrogatepass")[: -MAX_MATCH_BYTES - 1 : -1]
        size, data, suffixes = len(query), self._reversed, self._suffixes
        above = bisect_left(suffixes, query, key=lambda start: data[start : start + size])
        below = above - 1
        above_match = self._match(query, above)
        below_match = self._match(query, below)
        while above_match or below_match:
            if above_match >= below_match:
                yield self._hit(above, query[:above_match])
                above += 1
                above_match = self._match(query[:above_match], above)
            else:
                yield self._hit(below, query[:below_match])
                below -= 1
                below_match = self._match(query[:below_match], below)

    def offset(self, hit: Hit) -> int:
        """Return the offset of a hit in its text, in characters."""
        start = self._starts[hit.document]
        return self._num_characters(hit.position) - self._num_characters(start)

    def before(self, hit: Hit, max_bytes: int) -> str:
        """Return the text before a hit, at most `max_bytes` bytes in whole characters."""
        start = max(self._starts[hit.document], hit.position - max_bytes)
        return self._decode(self._next_character(start), hit.position)

    def after(self, hit: Hit, max_bytes: int) -> str:
        """Return the text after a hit, at most `max_bytes` bytes in whole characters."""
        last = self._starts[hit.document + 1] - 1
        end = min(last, hit.position + max_bytes)
        while self._is_inside_character(end):
            end -= 1
        return self._decode(hit.position, end)

    def _match(self, query: bytes, place: int) -> int:
        """Return how many bytes of the query a suffix begins with, in whole characters."""
        if not 0 <= place < len(self._suffixes):
            return 0
        start = self._suffixes[place]
        suffix = self._reversed[start : start + len(query)]
        length = _common_prefix(query, suffix)
        while length and query[length - 1] & 0xC0 == 0x80:
            length -= 1
        return length

    def _hit(self, place: int, matched: bytes) -> Hit:
        position = self._num_bytes - self._suffixes[place]
        document = bisect_right(self._starts, position) - 1
        length = len(matched) if self._is_ascii else _count_characters(matched)
        return Hit(document, length, position)

    def _num_characters(self, position: int) -> int:
        """Return the number of characters before a position."""
        if self._is_ascii:
            return position
        block = position // _BLOCK_BYTES
        rest = self._bytes(block * _BLOCK_BYTES, position)
        return self._num_before[block] + _count_characters(rest)

    def _next_character(self, position: int) -> int:
        while self._is_inside_character(position):
            position += 1
        return position

    def _is_inside_character(self, position: int) -> bool:
        return self._reversed[self._num_bytes - 1 - position] & 0xC0 == 0x80

    def _bytes(self, start: int, end: int) -> bytes:
        return self._reversed[self._num_bytes - end : self._num_bytes - start][::-1]

    def _decode(self, start: int, end: int) -> str:
        return self._bytes(start, end).decode("utf-8", "surrogatepass")


def _sort(data: bytes, *, is_ascii: bool) -> tuple[memoryview[int], memoryview[int]]:
    """Return the sorted suffixes of reversed bytes that end a character, and counts of characters.

    numpy is imported here, because a server that indexes nothing does not need it.
    """
    import numpy as np
    from pydivsufsort.dll import libdivsufsort

    # pydivsufsort's own function allocates the result with the interpreter lock, for 40 ms.
    suffixes = np.empty(len(data), np.int32)
    error = libdivsufsort.divsufsort(
        ctypes.c_char_p(data), ctypes.c_void_p(suffixes.ctypes.data), ctypes.c_int32(len(data))
    )
    if error:
        raise MemoryError(f"libdivsufsort: {error}")
    if is_ascii:
        return suffixes.data, np.empty(0, np.int32).data
    begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
    # A suffix is a place between characters if the byte before it, which follows it in the text,
    # begins a character.
    is_place = np.concatenate(([True], begins[:-1]))
    suffixes = suffixes[is_place[suffixes]]
    num_blocks = len(data) // _BLOCK_BYTES
    forwards = begins[::-1][: num_blocks * _BLOCK_BYTES].reshape(num_blocks, _BLOCK_BYTES)
    counts = np.concatenate(([0], np.cumsum(forwards.sum(axis=1)))).astype(np.int32)
    return suffixes.data, counts.data


def _common_prefix(first: bytes, second: bytes) -> int:
    """Return the number of bytes at the beginning that are equal."""
    size = min(len(first), len(second))
    if first[:size] == second[:size]:
        return size
    different = int.from_bytes(first[:size], "little") ^ int.from_bytes(second[:size], "little")
    return ((different & -different).bit_length() - 1) // 8


def _count_characters(data: bytes) -> int:
    return len(data.translate(None, _CONTINUATION_BYTES))
