"""Finds in the passages of a request what followed the text that was written so far.

The search works on bytes, so it does not depend on where a tokenizer cuts the text. Only the
continuations become tokens. For each step it finds the places in the passages whose bytes before
them equal the last bytes of the text: the longest matches, and shorter ones where there is no long
one (nested n-grams, Hellendoorn and Devanbu 2017).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Memory
from engine.decoding.vocabulary import Vocabulary

_SEPARATOR = b"\xff"
"""The byte between passages; UTF-8 never contains it."""

_TAILS = (24, 12, 5)
"""Numbers of last bytes that are searched, one after the other until one occurs."""

MAX_MATCH = 64
"""Number of bytes beyond which a longer match says no more."""

MATCH_SIZES = (5, 6, 8, 10, 13, 17, 23, 31, 45, MAX_MATCH)
"""Smallest match of each size class, in bytes."""

_MAX_PLACES = 32
"""Maximum number of places that are compared in one step, from the last one in the passages."""

_CONTINUATION_BYTES = 32
"""Maximum number of bytes after a place from which its next token is made."""
_FIRST_PIECE = re.compile(rb"\s*(?:[A-Za-z]+|[^\sA-Za-z]+)?")
"""The bytes that decide about the next token: a run of letters or of other signs, and the white
space before it. Tokenizers cut the text at least there before they merge (see
`fim.prompt.token_healing`)."""
_DRAFT_BYTES = 160
"""Number of bytes after a place from which draft tokens are made."""
_MAX_ENCODED = 20_000
"""Maximum number of continuations whose first token is remembered."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the passages."""

    end: int
    """Offset of the byte after the match."""
    size_class: int
    """Index of the match's size in `MATCH_SIZES`."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """A token that follows places in the passages."""

    id: int
    counts: tuple[tuple[int, int], ...]
    """Pairs of a size class and the number of places of this class."""


class ContinuationTokens:
    """Remembers the first token of continuations, for all requests to one model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._ids: dict[bytes, int | None] = {}

    def first_id(self, continuation: bytes) -> int | None:
        """Return the first token of a continuation, None if it has no complete character."""
        piece = continuation[: _FIRST_PIECE.match(continuation).end()]  # type: ignore[union-attr]
        if piece not in self._ids:
            if len(self._ids) >= _MAX_ENCODED:
                self._ids.clear()
            ids = self.encode(piece)
            self._ids[piece] = ids[0] if ids else None
        return self._ids[piece]

    def encode(self, continuation: bytes) -> list[int]:
        """Return the tokens of a continuation, without a character that is cut at its end."""
        return self.vocabulary.encode(continuation.decode("utf-8", "ignore"))


class MemoryText:
    """The passages of one request, and the text that was written so far."""

    def __init__(
        self, memory: Memory, tokens: ContinuationTokens, line_ends: frozenset[int] = frozenset()
    ) -> None:
        """Search in the passages of `memory`; the text so far is `memory.before`.

        `line_ends` are the tokens with a line feed, if the output ends with its line. They all mean
        the same then, so the smallest one stands for all of them.
        """
        self._tokens, self._line_ends = tokens, line_ends
        self.line_end = min(line_ends, default=-1)
        """The token that stands for all line ends."""
        self._passages = _SEPARATOR.join(
            passage.encode("utf-8", "ignore") for passage in memory.passages
        )
        self._written = memory.before.encode("utf-8", "ignore")[-MAX_MATCH:]

    def write(self, id_: int) -> None:
        """Record a token of the output."""
        self._written = (self._written + self._tokens.vocabulary.bytes_of(id_))[-MAX_MATCH:]

    def continuations(
        self, ids: Sequence[int] = (), forced_prefix: bytes = b""
    ) -> list[Continuation]:
        """Return the tokens that followed the text so far and then `ids`, at most one of each.

        Only continuations that agree with `forced_prefix` count.
        """
        counts: dict[int, dict[int, int]] = {}
        for place in self._places(self._text_after(ids)):
            continuation = self._after(place, _CONTINUATION_BYTES)
            if len(continuation) <= len(forced_prefix) or not continuation.startswith(
                forced_prefix[:_CONTINUATION_BYTES]
            ):
                continue
            id_ = self._tokens.first_id(continuation)
            if id_ is not None:
                id_ = self.line_end if id_ in self._line_ends else id_
                by_class = counts.setdefault(id_, {})
                by_class[place.size_class] = by_class.get(place.size_class, 0) + 1
        return [Continuation(id_, tuple(by_class.items())) for id_, by_class in counts.items()]

    def draft(self, max_tokens: int, min_size_class: int = 0) -> tuple[int, tuple[int, ...]]:
        """Return the size class of the longest match, and the tokens that follow it.

        Of several such places the last one in the passages counts. There are no tokens for a match
        below `min_size_class`.
        """
        best = max(
            self._places(self._written),
            key=lambda place: (place.size_class, place.end),
            default=None,
        )
        if best is None or best.size_class < min_size_class:
            return 0, ()
        ids = self._tokens.encode(self._after(best, _DRAFT_BYTES))
        # The last token may be cut where the continuation is.
        return best.size_class, tuple(ids[:-1][:max_tokens])

    def _text_after(self, ids: Sequence[int]) -> bytes:
        if not ids:
            return self._written
        added = b"".join(map(self._tokens.vocabulary.bytes_of, ids))
        return (self._written + added)[-MAX_MATCH:]

    def _places(self, text: bytes) -> list[Place]:
        """Return the places after the last bytes of `text`, by the longest tail that occurs."""
        for size in _TAILS:
            tail = text[-size:]
            if len(tail) == size and (ends := self._ends_of(tail)):
                return [Place(end, self._size_class(text, end, size)) for end in ends]
        return []

    def _ends_of(self, tail: bytes) -> list[int]:
        """Return the offsets after occurrences of `tail` that something follows, the last first."""
        ends: list[int] = []
        start = self._passages.rfind(tail)
        while start >= 0 and len(ends) < _MAX_PLACES:
            end = start + len(tail)
            if self._passages[end : end + 1] not in (b"", _SEPARATOR):
                ends.append(end)
            start = self._passages.rfind(tail, 0, end - 1)
        return ends

    def _size_class(self, text: bytes, end: int, size: int) -> int:
        """Return the class of the match before `end`, which has at least `size` bytes."""
        low = bisect_right(MATCH_SIZES, size) - 1
        passages = self._passages
        for number in range(low + 1, len(MATCH_SIZES)):
            longer = MATCH_SIZES[number]
            if longer > len(text) or passages[max(0, end - longer) : end] != text[-longer:]:
                return number - 1
        return len(MATCH_SIZES) - 1

    def _after(self, place: Place, size: int) -> bytes:
        text = self._passages[place.end : place.end + size]
        end = text.find(_SEPARATOR)
        return text if end < 0 else text[:end]
