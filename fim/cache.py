"""Answers that were given before: at the same place, or at one that was typed through since."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from fim.snapshot import Snapshot, Source

_BEFORE_CHARACTERS = 1500
_AFTER_CHARACTERS = 500
"""An answer depends on what is near; an edit far away does not make it wrong."""
_LONGEST_TYPED = 200

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Cached:
    """An answer, or that there is none, with where it came from."""

    text: str
    """Empty when nothing is to be suggested."""
    replaced: int
    source: Source


class SuggestionCache:
    """Remembers answers for a time, the least recently used first to go."""

    def __init__(
        self, size: int, seconds: float, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: TTLCache[_Key, tuple[str, int]] = TTLCache(size, seconds, timer)

    def store(self, snapshot: Snapshot, text: str, replaced: int) -> None:
        """Remember what was suggested at the cursor; an empty text says that nothing was."""
        self._entries[_key(snapshot.uri, snapshot.before, snapshot.after)] = (text, replaced)

    def find(self, snapshot: Snapshot) -> Cached | None:
        """Return the answer for this place.

        Either it was asked here before, or a little further left and everything typed since then
        is what was suggested there.
        """
        before, after = snapshot.before, snapshot.after
        if found := self._entries.get(_key(snapshot.uri, before, after)):
            return Cached(*found, Source.CACHE)
        for typed in range(1, min(_LONGEST_TYPED, len(before)) + 1):
            found = self._entries.get(_key(snapshot.uri, before[:-typed], after))
            if found and len(found[0]) > typed and found[0].startswith(before[-typed:]):
                return Cached(found[0][typed:], found[1], Source.TYPED_THROUGH)
        return None

    def clear(self) -> None:
        """Forget everything: the model or its settings changed."""
        self._entries.clear()


def _key(uri: str, before: str, after: str) -> _Key:
    return uri, before[-_BEFORE_CHARACTERS:], after[:_AFTER_CHARACTERS]
