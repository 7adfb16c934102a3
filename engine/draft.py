"""Drafts: ids that may well come next, checked many at a time in one forward pass.

A guess is kept only where the model would have chosen the same id, so the answer does not change
(speculative decoding, Leviathan et al. 2023, arXiv:2211.17192). Guesses come from two places: the
draft that the caller sent along, such as the suggestion of a key ago, and what followed the same
few ids before, since code repeats itself (prompt lookup, Saxena 2023).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

_LONGEST_MATCH, _SHORTEST_MATCH = 4, 2
"""Ids that must have been the same before; longer matches are better guesses."""

_FIRST_LENGTH, _LEAST_LENGTH, _MOST_LENGTH = 4, 2, 10
_FIRST_OF_CALLER = 10
"""A caller's draft was the model's own word a moment ago: worth a longer look at once."""

_ID_BYTES = 4


class Drafter:
    """Guesses for one answer; its guesses grow while they are right, and shrink."""

    def __init__(self, prompt: Sequence[int], draft: Sequence[int] = ()) -> None:
        """`draft` is what the answer may begin with, and may come back to."""
        # As bytes, so that the search for what stood there before is one call.
        self._ids = bytearray(array("i", prompt).tobytes())
        self._answer_from = len(self._ids)
        self._draft = Draft(draft) if draft else None
        self._length = _FIRST_OF_CALLER if draft else _FIRST_LENGTH
        self.drafted = 0
        """Ids guessed."""
        self.accepted = 0
        """Of those, how many were right."""

    def add(self, id_: int) -> None:
        """Take an id of the answer."""
        self._ids += array("i", (id_,)).tobytes()
        if self._draft is not None:
            self._draft.follow(id_, self._last_of_answer())

    def propose(self, most: int) -> tuple[int, ...]:
        """Return at most `most` ids: of the caller's draft, or what followed the last few."""
        wanted = min(most, self._length)
        if wanted <= 0:
            return ()
        found = self._draft.ahead(wanted) if self._draft is not None else ()
        found = found or self._looked_up(wanted)
        self.drafted += len(found)
        return found

    def judge(self, guessed: int, right: int) -> None:
        """Learn that of so many guessed ids the first `right` were chosen."""
        if right == guessed:
            self._length = min(_MOST_LENGTH, self._length * 2)
        elif right == 0:
            self._length = max(_LEAST_LENGTH, self._length // 2)

    def _looked_up(self, wanted: int) -> tuple[int, ...]:
        for size in range(_LONGEST_MATCH, _SHORTEST_MATCH - 1, -1):
            place = self._followed(size)
            if place is not None:
                return _ids(self._ids[place : place + wanted * _ID_BYTES])
        return ()

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

    def _last_of_answer(self) -> tuple[int, ...]:
        return _ids(
            self._ids[max(self._answer_from, len(self._ids) - _LONGEST_MATCH * _ID_BYTES) :]
        )


class Draft:
    """Where in a caller's draft the answer is, if it is in it."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = tuple(ids)
        self._at: int | None = 0
        """Place of the id that comes next if the answer keeps to the draft; None when lost."""
        self._passed = 0
        """Places before this one are behind the answer."""

    def follow(self, id_: int, last: Sequence[int]) -> None:
        """Take an id of the answer, whose last few ids, `id_` included, are `last`.

        Where the answer has left the draft it may come back to it: after an insertion to where it
        left, after a deletion to what comes later.
        """
        if self._at is not None and self._at < len(self._ids) and self._ids[self._at] == id_:
            self._at = self._passed = self._at + 1
            return
        self._at = self._found(last)
        if self._at is not None:
            self._passed = self._at

    def ahead(self, most: int) -> tuple[int, ...]:
        """Return the next ids of the draft, at most so many; none when the answer has left it."""
        return () if self._at is None else self._ids[self._at : self._at + most]

    def _found(self, last: Sequence[int]) -> int | None:
        """Return the place behind the longest match of the last ids, the nearest of several."""
        for size in range(len(last), 0, -1):
            wanted = tuple(last[-size:])
            for at in range(self._passed, len(self._ids) - size + 1):
                if self._ids[at : at + size] == wanted:
                    return at + size
        return None


def _ids(of_bytes: bytes | bytearray) -> tuple[int, ...]:
    found = array("i")
    found.frombytes(bytes(of_bytes))
    return tuple(found)
