"""Token healing: an answer that must begin with a text, however the model would cut it into ids.

A prompt that ends in the middle of a word ends in ids that the model hardly ever saw there. The
caller leaves the half-typed word out of the prompt and asks for an answer that begins with it; only
ids that agree with it are let through, until it is written. After that everything is allowed.
`engine.decoding.token_healing` chooses among them.

All of this is on bytes: in byte-level BPE (Radford et al. 2019, GPT-2) an id is a string of bytes,
and may end inside a character.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress

from engine.errors import RequestError


class Vocabulary:
    """The bytes of every ordinary token, ordered, to find those that agree with a beginning."""

    def __init__(self, tokens: Mapping[str, int]) -> None:
        """Take token names as a byte-level tokenizer has them; others are left out."""
        letters = _byte_of_letter()
        self._bytes: dict[int, bytes] = {}
        for name, id_ in tokens.items():
            with suppress(UnicodeEncodeError):
                self._bytes[id_] = name.translate(letters).encode("latin-1")
        self._ids = sorted(self._bytes, key=self._bytes.__getitem__)
        self._ids_end = max(self._bytes, default=-1) + 1
        self._sorted = [self._bytes[id_] for id_ in self._ids]
        self._exact = {found: id_ for id_, found in self._bytes.items()}

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return self._ids_end

    def bytes_of(self, id_: int) -> bytes:
        """Return what an id writes; nothing for a special token."""
        return self._bytes.get(id_, b"")

    def agreeing(self, begin: bytes) -> list[int]:
        """Return the ids that `forced_prefix` begins with, and those that begin with
        `forced_prefix`.

        Raises RequestError where there is none, as with a tokenizer that is not byte-level.
        """
        parts = (self._exact.get(begin[:size]) for size in range(1, len(begin)))
        found = [id_ for id_ in parts if id_ is not None]
        start = bisect_left(self._sorted, begin)
        after = _following(begin)
        end = len(self._sorted) if after is None else bisect_left(self._sorted, after, start)
        found += self._ids[start:end]
        if not found:
            raise RequestError(
                "This model's tokenizer does not support a forced prefix. Leave `forced_prefix` "
                "empty."
            )
        return found


def check_forced_prefix(begin: str) -> None:
    """Raise RequestError for a beginning that holds half a surrogate pair."""
    try:
        begin.encode()
    except UnicodeEncodeError:
        raise RequestError("`forced_prefix` holds half a character (a lone surrogate).") from None


def _following(begin: bytes) -> bytes | None:
    """Return the first string of bytes behind all that begin with `forced_prefix`, None for no
    such."""
    stem = begin.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def _byte_of_letter() -> dict[int, int]:
    """Return the byte that each letter of a byte-level token's name stands for, by code points.

    As in GPT-2's encoder.py: what can be seen stands for itself, the rest for what comes after 255.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in set(visible)]
    return {0x100 + at: byte for at, byte in enumerate(hidden)}
