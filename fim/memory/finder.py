"""Collects the places of a memory that match the text before one cursor."""

from __future__ import annotations

from collections.abc import Callable

from fim.memory.passages import Place, moved, passage_at, without_overlap
from fim.memory.segments import Segment, Text, with_line_feeds
from fim.memory.suffix_index import MAX_MATCH_BYTES, Hit


class Finder:
    """Collects the places for one request."""

    def __init__(
        self, changed: Callable[[str], Text | None], key: str, text: str, cursor: int
    ) -> None:
        self._changed, self._key = changed, key
        self._own_text = with_line_feeds(text)
        self.context = with_line_feeds(text[max(0, cursor - MAX_MATCH_BYTES) : cursor])
        self._cursor = len(with_line_feeds(text[:cursor]))
        self.places: dict[tuple[str, int], Place] = {}
        """The places by document and offset, so that none counts twice."""

    def add(self, segment: Segment, hit: Hit, current: str | None) -> None:
        """Add the place of a hit, unless its text is not in the current text any more."""
        entry = segment.entries[hit.document]
        passage, place = passage_at(segment.index, hit), hit.position
        if current is not None:
            shift = len(current) - entry.size
            moved_place = moved(passage, segment.index.offset(hit), shift, current)
            if moved_place is None:
                return
            passage, place = moved_place
        is_own = entry.key == self._key
        if is_own:
            passage = without_overlap(passage, place, self._cursor)
        distance = abs(place - self._cursor) if is_own else 0
        self.places.setdefault((entry.key, place), Place(passage, is_own, distance))

    def current_text(self, key: str) -> str | None:
        """Return the current text of a document, None if it is the indexed one."""
        if key == self._key:
            return self._own_text
        changed = self._changed(key)
        return None if changed is None else changed.lines
