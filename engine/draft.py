"""Drafts: ids that may well come next, checked many at a time in one forward pass.

Code repeats itself, so what followed the same few ids before is a good guess (prompt lookup,
Saxena 2023; a special case of speculative decoding, Leviathan et al. 2023, arXiv:2211.17192). A
guess is kept only where the model would have chosen the same id, so the answer does not change.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

_LONGEST_MATCH, _SHORTEST_MATCH = 4, 2
"""Ids that must have been the same before; longer matches are better guesses."""

_FIRST_LENGTH, _LEAST_LENGTH, _MOST_LENGTH = 4, 2, 10


_ID_BYTES = 4


class Drafter:
    """Guesses for one answer; its guesses grow while they are right, and shrink."""

    def __init__(self, prompt: Sequence[int]) -> None:
        # As bytes, so that the search for what stood there before is one call.
        self._ids = bytearray(array("i", prompt).tobytes())
        self._length = _FIRST_LENGTH
        self.drafted = 0
        """Ids guessed."""
        self.accepted = 0
        """Of those, how many were right."""

    def add(self, id_: int) -> None:
        """Take an id of the answer."""
        self._ids += array("i", (id_,)).tobytes()

    def propose(self, most: int) -> tuple[int, ...]:
        """Return at most `most` ids that followed when the last few ids stood there before."""
        wanted = min(most, self._length)
        for size in range(_LONGEST_MATCH, _SHORTEST_MATCH - 1, -1):
            place = self._followed(size)
            if place is not None and wanted > 0:
                found = array("i")
                found.frombytes(bytes(self._ids[place : place + wanted * _ID_BYTES]))
                self.drafted += len(found)
                return tuple(found)
        return ()

    def judge(self, guessed: int, right: int) -> None:
        """Learn that of so many guessed ids the first `right` were chosen."""
        if right == guessed:
            self._length = min(_MOST_LENGTH, self._length * 2)
        elif right == 0:
            self._length = max(_LEAST_LENGTH, self._length // 2)

    def _followed(self, size: int) -> int | None:
        """Return the byte after the nearest earlier place of the last `size` ids, None for none."""
        last = self._ids[-size * _ID_BYTES :]
        end = len(self._ids) - 1  # not the last place itself
        while len(last) == size * _ID_BYTES:
            at = self._ids.rfind(last, 0, end)
            if at < 0:
                return None
            if at % _ID_BYTES == 0:
                return at + size * _ID_BYTES
            end = at + len(last) - 1
        return None
