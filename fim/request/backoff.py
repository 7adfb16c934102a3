"""Backoff within a word for which the model has no suggestion.

Users type a new name to its end. A request for each of its letters costs as much as any other, and
its suggestion is as uncertain as the one before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fim.snapshot import Snapshot

_WORD = re.compile(r"\w+\Z")
_MAX_WORD_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class _Misses:
    """The requests in one word that gave no visible suggestion."""

    word_start: int
    """Offset at which the word begins."""
    before: str
    """The text near the word, up to the cursor, at the last of these requests."""
    count: int

    def in_same_word(self, snapshot: Snapshot, word_start: int | None) -> bool:
        """Return whether the user has only continued the word since."""
        return word_start == self.word_start and _near(snapshot, word_start).startswith(self.before)


class WordBackoff:
    """Pauses requests within a word after several misses, separately for each document."""

    def __init__(self, max_misses: int) -> None:
        """Pause after `max_misses` misses in one word; 0 disables the backoff."""
        self._max_misses = max_misses
        self._misses: dict[str, _Misses] = {}
        """The misses in the current word, by URI."""

    def is_active(self, snapshot: Snapshot) -> bool:
        """Return whether requests in the word at the cursor are paused."""
        misses = self._misses.get(snapshot.uri)
        if misses is None or not 0 < self._max_misses <= misses.count:
            return False
        return misses.in_same_word(snapshot, _word_start(snapshot))

    def record(self, snapshot: Snapshot, *, shown: bool) -> None:
        """Record whether a request to the model gave a visible suggestion."""
        word_start, misses = _word_start(snapshot), self._misses.pop(snapshot.uri, None)
        if not shown and word_start is not None:
            is_same = misses is not None and misses.in_same_word(snapshot, word_start)
            count = misses.count if misses is not None and is_same else 0
            self._misses[snapshot.uri] = _Misses(word_start, _near(snapshot, word_start), count + 1)


def _word_start(snapshot: Snapshot) -> int | None:
    """Return the offset of the word that ends at the cursor, or None.

    Of a longer word, only the last characters count, which no user types as a name.
    """
    near = snapshot.line_before[-_MAX_WORD_CHARACTERS:]
    match = _WORD.search(near)
    return None if match is None else snapshot.cursor - len(near) + match.start()


def _near(snapshot: Snapshot, word_start: int) -> str:
    return snapshot.text[max(0, word_start - _MAX_WORD_CHARACTERS) : snapshot.cursor]
