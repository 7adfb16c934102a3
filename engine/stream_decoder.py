"""Decodes a stream of token ids to text that never contains half a character."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""The character that stands for bytes that are not UTF-8."""


class StreamDecoder(Protocol):
    """Decodes ids to text piece by piece and holds back incomplete UTF-8."""

    def feed_one(self, id_: int) -> str:
        """Add one id; see `feed`."""
        ...

    def feed(self, ids: Iterable[int]) -> str:
        """Add ids and return the text that is complete now, possibly empty."""
        ...

    def flush(self) -> str:
        """Return the text that is held back, at the end of the output."""
        ...


class ByteStreamDecoder:
    """A `StreamDecoder` for a tokenizer that knows the bytes of each id."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed_one(self, id_: int) -> str:
        """See `StreamDecoder`."""
        return self._utf8.decode(self._bytes_of(id_))

    def feed(self, ids: Iterable[int]) -> str:
        """See `StreamDecoder`."""
        return self._utf8.decode(b"".join(map(self._bytes_of, ids)))

    def flush(self) -> str:
        """See `StreamDecoder`."""
        return self._utf8.decode(b"", final=True)


class ByteLevelStreamDecoder:
    """A `StreamDecoder` for byte-level BPE, which uses the library's decoder."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], whole_text: Callable[[int], str]
    ) -> None:
        """`decode` and `whole_text` are those of `engine.tokenizer.Tokenizer`."""
        self._decode, self._whole_text = decode, whole_text
        self._pending: list[int] = []

    def feed_one(self, id_: int) -> str:
        """See `StreamDecoder`."""
        if not self._pending and (whole := self._whole_text(id_)):
            return whole
        return self.feed((id_,))

    def feed(self, ids: Iterable[int]) -> str:
        """See `StreamDecoder`.

        Byte-level BPE decodes id by id, so only the ids of an unfinished character are kept. Every
        character has at most four bytes. Bytes that are still invalid after that become U+FFFD.
        """
        self._pending.extend(ids)
        text = self._decode(self._pending)
        if text.endswith(REPLACEMENT) and len(self._pending) <= 4:
            return ""
        self._pending.clear()
        return text

    def flush(self) -> str:
        """See `StreamDecoder`."""
        text = self._decode(self._pending) if self._pending else ""
        self._pending.clear()
        return text
