"""The bytes of every token, to find the tokens that agree with a forced prefix.

Everything here works on bytes. In byte-level BPE (Radford et al. 2019, GPT-2) a token is a string
of bytes and may end inside a character. In SentencePiece's form a character without a token is
written byte by byte (see `engine.token_bytes`).
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

from engine.errors import RequestError
from engine.tokenizer import Tokenizer

_MAX_NEIGHBOURS = 300
"""Maximum number of tokens that are tried as the next one: about a millisecond."""
_MAX_REMEMBERED = 20_000
"""Maximum number of answers of `can_continue` that are kept."""


class Vocabulary:
    """The ordinary tokens of a tokenizer, sorted by their bytes.

    The tables are built at first use, which takes about 0.1 s for 49,152 tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._continues: dict[tuple[int, bytes], bool] = {}

    @property
    def _bytes(self) -> dict[int, bytes]:
        return self._tokenizer.bytes_by_id

    @cached_property
    def _sorted_ids(self) -> list[int]:
        return sorted(self._id_of.values(), key=self._bytes.__getitem__)

    @cached_property
    def _sorted_bytes(self) -> list[bytes]:
        return [self._bytes[id_] for id_ in self._sorted_ids]

    @cached_property
    def _id_of(self) -> dict[bytes, int]:
        """The token that the tokenizer itself writes for each string of bytes."""
        return {token: id_ for id_, token in self._bytes.items()}

    @cached_property
    def _max_bytes(self) -> int:
        """Length of the longest token, in bytes."""
        return max(map(len, self._bytes.values()), default=0)

    @cached_property
    def size(self) -> int:
        """The largest token id plus 1."""
        return max(self._bytes, default=-1) + 1

    @cached_property
    def line_end_ids(self) -> tuple[int, ...]:
        """The tokens that contain a line feed."""
        return tuple(sorted(id_ for id_, token in self._bytes.items() if b"\n" in token))

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a piece of text."""
        return self._tokenizer.encode(text)

    def bytes_of(self, id_: int) -> bytes:
        """Return the bytes of a token, empty for a special token."""
        return self._bytes.get(id_, b"")

    def tokens_compatible_with(self, prefix: bytes) -> list[int]:
        """Return the tokens that are a prefix of `prefix`, and those that start with it.

        Raises RequestError if there is none: the tokenizer has no tokens for single bytes. The time
        does not depend on the length of `prefix`.
        """
        prefix = prefix[: self._max_bytes]  # the rest has no influence
        shorter = (self._id_of.get(prefix[:size]) for size in range(1, len(prefix)))
        ids = [id_ for id_ in shorter if id_ is not None]
        start = bisect_left(self._sorted_bytes, prefix)
        after = _first_after(prefix)
        end = (
            len(self._sorted_bytes)
            if after is None
            else bisect_left(self._sorted_bytes, after, start)
        )
        ids += self._sorted_ids[start:end]
        if not ids:
            raise unsupported_forced_prefix()
        return ids

    def can_continue(self, id_: int, rest: bytes) -> bool:
        """Return whether a text that continues with `rest` may be tokenized with a cut after `id_`.

        Between two letters the answer depends on the tokenizer's merges. In byte-level BPE each two
        neighbouring tokens are the tokenization of their own text (van Antwerpen and Neubeck 2024,
        "So many tokens, so little time", on the bpe crate). So one of the tokens that agree with
        `rest` must be such a neighbour of `id_`. The result is True if the search would take long.
        """
        key = id_, rest[: self._max_bytes]
        result = self._continues.get(key)
        if result is None:
            if len(self._continues) >= _MAX_REMEMBERED:
                self._continues.clear()
            result = self._continues[key] = self._has_neighbour(*key)
        return result

    def _has_neighbour(self, id_: int, rest: bytes) -> bool:
        before = self.bytes_of(id_)
        if not (before[-1:].isalpha() and rest[:1].isalpha()):
            return True  # word boundaries depend on more than two neighbours
        candidates = self.tokens_compatible_with(rest)
        if len(candidates) > _MAX_NEIGHBOURS:
            return True
        try:
            pairs = [(before + self.bytes_of(candidate)).decode() for candidate in candidates]
        except UnicodeDecodeError:
            return True
        return any(
            self._tokenizer.encode(text) == [id_, candidate]
            for text, candidate in zip(pairs, candidates, strict=True)
        )


def unsupported_forced_prefix() -> RequestError:
    """Return the error for a tokenizer that cannot write every text."""
    return RequestError(
        "This model's tokenizer does not support a forced prefix. Leave `forced_prefix` empty."
    )


def check_forced_prefix(prefix: str) -> None:
    """Raise RequestError for a forced prefix that contains a lone surrogate."""
    try:
        prefix.encode()
    except UnicodeEncodeError:
        raise RequestError(
            "`forced_prefix` contains half a character (a lone surrogate)."
        ) from None


def _first_after(prefix: bytes) -> bytes | None:
    """Return the first byte string after all that start with `prefix`, None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None
