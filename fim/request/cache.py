"""Answers that were given before: at the same place, or at one that was typed through since."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from fim.postprocess.confidence import UNSCORED, Scores, first_line
from fim.snapshot import Snapshot, Source

_BEFORE_CHARACTERS = 1500
_AFTER_CHARACTERS = 500
"""An answer depends on what is near; an edit far away does not make it wrong."""
_MAX_TYPED_CHARACTERS = 200

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Cached:
    """An answer, or that there is none, with where it came from."""

    text: str
    """Empty when nothing is to be suggested."""
    replaced: int
    source: Source
    scores: Scores = UNSCORED

    @property
    def confidence(self) -> float:
        """How sure the model was of its first line, 0 to 1."""
        return self.scores.confidence(0, first_line(self.text))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is remembered."""

    text: str
    replaced: int
    scores: Scores
    finished: bool

    def after(self, typed: int, source: Source) -> Cached:
        """Return what is left of it after so many characters were typed along."""
        scores = self.scores.from_offset(typed) if typed else self.scores
        return Cached(self.text[typed:], self.replaced, source, scores)


class SuggestionCache:
    """Remembers answers for a time, the least recently used first to go."""

    def __init__(
        self, size: int, seconds: float, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: TTLCache[_Key, _Answer] = TTLCache(size, seconds, timer)
        self._places: dict[tuple[str, str], dict[str, None]] = {}
        """What was left of the cursor, by URI and what was right of it; the newest last."""

    def store(
        self,
        snapshot: Snapshot,
        text: str,
        replaced: int,
        scores: Scores = UNSCORED,
        *,
        finished: bool = False,
    ) -> None:
        """Remember what was suggested at the cursor; an empty text says that nothing was.

        `scores` are those of the text; `finished` says that nothing is to be added behind it.
        """
        key = _key(snapshot.uri, snapshot.before, snapshot.after)
        self._entries[key] = _Answer(text, replaced, scores, finished)
        if len(self._places) > self._entries.maxsize:
            held = {(uri, after) for uri, _, after in self._entries}
            self._places = {place: self._places[place] for place in self._places if place in held}
        self._places.setdefault((key[0], key[2]), {})[key[1]] = None

    def find(self, snapshot: Snapshot) -> Cached | None:
        """Return the answer for this place.

        Either it was asked here before, or a little further left and everything typed since then
        is what was suggested there. Of one that was typed to its end nothing is left, if the model
        had ended it there.
        """
        uri, _, after = key = _key(snapshot.uri, snapshot.before, snapshot.after)
        if found := self._entries.get(key):
            return found.after(0, Source.CACHE)
        start = max(0, snapshot.cursor - _BEFORE_CHARACTERS - _MAX_TYPED_CHARACTERS)
        near = snapshot.text[start : snapshot.cursor]
        for left in reversed(self._places.get((uri, after), {})):
            typed = _typed_since(left, near)
            found = self._entries.get((uri, left, after)) if typed else None
            if found is None or not found.text.startswith(typed):
                continue
            if len(found.text) > len(typed) or (found.finished and not found.replaced):
                return found.after(len(typed), Source.TYPED_THROUGH)
        return None


def _typed_since(left: str, near: str) -> str:
    """Return what of `near` follows `left`, the text that was left of a cursor; empty for none."""
    at = 0 if len(left) < _BEFORE_CHARACTERS else near.rfind(left)
    if at < 0 or not near.startswith(left, at):
        return ""
    typed = near[at + len(left) :]
    return typed if len(typed) <= _MAX_TYPED_CHARACTERS else ""


def _key(uri: str, before: str, after: str) -> _Key:
    return uri, before[-_BEFORE_CHARACTERS:], after[:_AFTER_CHARACTERS]
