"""Cache of candidates, for the same place and for places after typing a part of a candidate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from cachetools import TTLCache

from fim.postprocess.candidate import Candidate
from fim.snapshot import Snapshot, Source

_BEFORE_CHARACTERS = 1500
_AFTER_CHARACTERS = 500
"""Characters around the cursor that form the key; distant edits do not invalidate a candidate."""
MAX_TYPED_CHARACTERS = 200

_Key = tuple[str, str, str]


class SuggestionCache:
    """Cache of candidates with a maximum age, which drops the least recently used first."""

    def __init__(
        self, size: int, seconds: float, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: TTLCache[_Key, Candidate] = TTLCache(size, seconds, timer)
        self._texts_before: dict[tuple[str, str], dict[str, None]] = {}
        """Texts left of the cursor, by URI and text right of the cursor; the newest text last."""
        self._num_stored = 0
        """Number of candidates stored since the texts were last compared with the entries."""

    def store(self, snapshot: Snapshot, candidate: Candidate) -> None:
        """Store the candidate for the cursor; it may be empty."""
        uri, before, after = key = _key(snapshot)
        self._entries[key] = candidate
        self._num_stored += 1
        if self._num_stored > self._entries.maxsize:
            self._forget_dropped()
        self._texts_before.setdefault((uri, after), {})[before] = None

    def _forget_dropped(self) -> None:
        """Keep the texts of present entries only."""
        self._num_stored = 0
        self._texts_before = {
            (uri, after): {text: None for text in texts if (uri, text, after) in self._entries}
            for (uri, after), texts in self._texts_before.items()
            if any((uri, text, after) in self._entries for text in texts)
        }

    def find(self, snapshot: Snapshot) -> Candidate | None:
        """Return the candidate for the cursor.

        It was stored for this place, or it is the rest of a candidate for a place further left
        whose beginning the user has typed since.
        """
        uri, _, after = key = _key(snapshot)
        if (candidate := self._entries.get(key)) is not None:
            return replace(candidate, source=Source.CACHE)
        start = max(0, snapshot.cursor - _BEFORE_CHARACTERS - MAX_TYPED_CHARACTERS)
        near = snapshot.text[start : snapshot.cursor]
        for before in reversed(self._texts_before.get((uri, after), {})):
            typed = _typed_since(before, near)
            candidate = self._entries.get((uri, before, after)) if typed else None
            rest = None if candidate is None else candidate.after_typing(typed)
            if rest is not None:
                return replace(rest, source=Source.TYPED_THROUGH)
        return None


def _typed_since(before: str, near: str) -> str:
    """Return the text in `near` after `before`, an earlier text left of the cursor, or empty."""
    start = 0 if len(before) < _BEFORE_CHARACTERS else near.rfind(before)
    if start < 0 or not near.startswith(before, start):
        return ""
    typed = near[start + len(before) :]
    return typed if len(typed) <= MAX_TYPED_CHARACTERS else ""


def _key(snapshot: Snapshot) -> _Key:
    text, cursor = snapshot.text, snapshot.cursor
    before = text[max(0, cursor - _BEFORE_CHARACTERS) : cursor]
    return snapshot.uri, before, text[cursor : cursor + _AFTER_CHARACTERS]
