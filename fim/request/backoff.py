"""Leave a word alone in which the model finds nothing: it will not know the next letter either.

Somebody who types a new name types it to its end. A call at each of its letters costs as much as
any, and what comes of it is as unsure as what came before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fim.snapshot import Snapshot

_WORD = re.compile(r"\w+\Z")


@dataclass(frozen=True, slots=True)
class _Misses:
    begin: int
    """Where the word begins."""
    line: str
    """Left of the cursor, when the model was asked."""
    times: int

    def is_of(self, snapshot: Snapshot, begin: int | None) -> bool:
        """Whether a place is further on in the same word."""
        return begin == self.begin and snapshot.line_before.startswith(self.line)


class WordBackoff:
    """Remembers of each document how often the model was asked in vain in the word being typed."""

    def __init__(self, max_misses: int) -> None:
        """RequestOptions so often in one word; 0 is always."""
        self._patience = max_misses
        self._vain: dict[str, _Misses] = {}
        """By URI."""

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether the word at the cursor is better left alone."""
        known = self._vain.get(snapshot.uri)
        if known is None or not 0 < self._patience <= known.times:
            return False
        return known.is_of(snapshot, _word_begin(snapshot))

    def note(self, snapshot: Snapshot, *, shown: bool) -> None:
        """Take note of what came of asking the model."""
        begin, known = _word_begin(snapshot), self._vain.pop(snapshot.uri, None)
        if not shown and begin is not None:
            times = known.times if known is not None and known.is_of(snapshot, begin) else 0
            self._vain[snapshot.uri] = _Misses(begin, snapshot.line_before, times + 1)


def _word_begin(snapshot: Snapshot) -> int | None:
    """Return where the word begins that ends at the cursor, None where there is none."""
    line = snapshot.line_before
    found = _WORD.search(line)
    return None if found is None else snapshot.cursor - len(line) + found.start()
