"""The texts of a project as they change, and passages of them for a place in one document.

A large segment holds most texts, and small ones hold those that changed since. A key press only
stores the new text. The next build, in the background, indexes it. Until then the old segment is
used: what it finds in a changed text counts only as far as the text still contains it.

Segments are merged so that each is at least twice as large as the next one. So their number, and
how often a text is indexed again, grow with the logarithm of the size.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile

from fim.memory.masking import mask
from fim.memory.passages import (
    MAX_HITS,
    MIN_MATCH,
    Place,
    moved,
    passage_at,
    select,
    without_overlap,
)
from fim.memory.suffix_index import MAX_MATCH_BYTES, SEPARATOR, Hit, SuffixIndex
from fim.snapshot import Passage

MAX_CHARACTERS = 20_000_000
"""Maximum characters of a project in its memory."""
MAX_DOCUMENT_CHARACTERS = 2_000_000
"""Maximum characters of a document in the memory, as for suggestions."""
_MAX_VISITED = 4 * MAX_HITS
"""Maximum number of places for one request, with those of texts that were replaced or removed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A version of a document in a segment."""

    key: str
    size: int
    """Number of characters."""


@dataclass(frozen=True, eq=False)
class _Segment:
    """Versions of some documents that are indexed together."""

    entries: tuple[_Entry, ...]
    index: SuffixIndex

    @cached_property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


class _Text:
    """A text that is not indexed yet."""

    def __init__(self, raw: str) -> None:
        self._raw = raw

    @cached_property
    def lines(self) -> str:
        """The text with `\\n` as line ending."""
        return with_line_feeds(self._raw)


class ProjectMemory:
    """The texts of a project by their keys. All methods are safe in any thread."""

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._segments: tuple[_Segment, ...] = ()
        """The segments, the largest first."""
        self._entries: dict[str, _Entry] = {}
        """The entry of each document that counts."""
        self._changed: dict[str, _Text] = {}
        """The current texts of the documents that have changed since they were indexed."""
        self._num_forgotten = 0
        """Characters that were forgotten since the last build."""
        self._lock = threading.Lock()
        self._build_lock = threading.Lock()

    @property
    def num_characters(self) -> int:
        """Number of indexed characters, without those of replaced and removed texts."""
        return sum(entry.size for entry in list(self._entries.values()))

    @property
    def num_memory_bytes(self) -> int:
        """Number of bytes that the indexes take."""
        return sum(segment.index.num_memory_bytes for segment in self._segments)

    @property
    def needs_build(self) -> bool:
        """Whether texts have changed since the last build, or most of them are forgotten."""
        total = sum(segment.size for segment in self._segments)
        return bool(self._changed) or 2 * self._num_forgotten > total

    def put(self, key: str, text: str) -> None:
        """Store the current text of a document; the next build indexes it."""
        if len(text) > MAX_DOCUMENT_CHARACTERS or SEPARATOR in text:
            self.forget(key)  # data, or binary
        else:
            with self._lock:
                self._changed[key] = _Text(text)

    def forget(self, key: str) -> None:
        """Remove a document; nothing of it is found any more."""
        with self._lock:
            self._changed.pop(key, None)
            if (entry := self._entries.pop(key, None)) is not None:
                self._num_forgotten += entry.size

    def build(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Index the texts that have changed. This takes seconds for a large project."""
        with self._build_lock:
            changed = dict(self._changed)
            texts: dict[str, str] = {}
            for key, text in changed.items():
                if should_stop():
                    return
                texts[key] = mask(text.lines)
            merged = self._segments_to_merge(texts)
            kept = [segment for segment in self._segments if segment not in merged]
            known = {}
            for segment in merged:
                for number, entry in enumerate(segment.entries):
                    if self._counts(entry) and entry.key not in texts:
                        texts[entry.key] = segment.index.text(number)
                        known[entry.key] = entry
            self._leave_out_what_does_not_fit(texts, kept)
            index = SuffixIndex(list(texts.values()))
            entries = tuple(_Entry(key, len(text)) for key, text in texts.items())
            self._install(_Segment(entries, index), kept, changed, known)

    def passages(
        self, key: str, text: str, cursor: int, may_use: Callable[[str], bool] = lambda _: True
    ) -> tuple[Passage, ...]:
        """Return the passages for a place in a document, whose text may be newer than stored.

        `may_use` says whether the indexed text of another document still counts.
        """
        finder = _Finder(self._changed.get, key, text, cursor)
        num_places = 0
        for segment, hit in self._hits(finder.context):
            entry = segment.entries[hit.document]
            current = finder.current_text(entry.key)
            # This is checked last: a build may end meanwhile, and then `current` is unknown.
            if (entry.key == key or may_use(entry.key)) and self._counts(entry):
                finder.add(segment, hit, current)
                num_places += 1
                if num_places == MAX_HITS:
                    break
        return select(finder.places.values())

    def _hits(self, context: str) -> Iterator[tuple[_Segment, Hit]]:
        """Yield the places of all segments, the longest match first."""

        def hits_in(segment: _Segment) -> Iterator[tuple[_Segment, Hit]]:
            return ((segment, hit) for hit in segment.index.hits(context))

        merged = heapq.merge(
            *map(hits_in, self._segments), key=lambda found: -found[1].match_length
        )
        long_enough = takewhile(lambda found: found[1].match_length >= MIN_MATCH, merged)
        return islice(long_enough, _MAX_VISITED)

    def _counts(self, entry: _Entry) -> bool:
        """Whether an entry is the latest one of its document, and the document not forgotten."""
        return self._entries.get(entry.key) is entry

    def _used(self, segment: _Segment) -> int:
        return sum(entry.size for entry in segment.entries if self._counts(entry))

    def _segments_to_merge(self, texts: Mapping[str, str]) -> list[_Segment]:
        """Return the segments that are indexed again together with new texts."""
        size, merged = sum(map(len, texts.values())), []
        for segment in reversed(self._segments):
            used = sum(
                entry.size
                for entry in segment.entries
                if self._counts(entry) and entry.key not in texts
            )
            if used <= 2 * size or 2 * used < segment.size:
                merged.append(segment)
                size += used
        return merged

    def _leave_out_what_does_not_fit(self, texts: dict[str, str], kept: Sequence[_Segment]) -> None:
        free = self._max_characters - sum(
            entry.size
            for segment in kept
            for entry in segment.entries
            if self._counts(entry) and entry.key not in texts
        )
        for key, text in list(texts.items()):
            free -= len(text)
            if free < 0:
                free += len(text)
                del texts[key]

    def _install(
        self,
        new: _Segment,
        kept: Sequence[_Segment],
        changed: Mapping[str, _Text],
        known: Mapping[str, _Entry],
    ) -> None:
        """Use a new segment, except for what was forgotten while it was built."""
        entries = {entry.key: entry for entry in new.entries}
        with self._lock:
            for key, text in changed.items():
                now = self._changed.get(key)
                if now is text:
                    del self._changed[key]
                if now is not None:
                    self._entries.pop(key, None)
                    if key in entries:
                        self._entries[key] = entries[key]
            for key, earlier in known.items():
                if self._counts(earlier):
                    del self._entries[key]
                    if key in entries:
                        self._entries[key] = entries[key]
            self._num_forgotten = 0
            segments = sorted((*kept, new), key=lambda segment: -segment.size)
            self._segments = tuple(filter(self._used, segments))


class _Finder:
    """Collects the places for one request."""

    def __init__(
        self, changed: Callable[[str], _Text | None], key: str, text: str, cursor: int
    ) -> None:
        self._changed, self._key = changed, key
        self._own_text = with_line_feeds(text)
        self.context = with_line_feeds(text[max(0, cursor - MAX_MATCH_BYTES) : cursor])
        self._cursor = len(with_line_feeds(text[:cursor]))
        self.places: dict[tuple[str, int], Place] = {}
        """The places by document and offset, so that none counts twice."""

    def add(self, segment: _Segment, hit: Hit, current: str | None) -> None:
        """Add the place of a hit, unless its text is not in the current text any more."""
        entry = segment.entries[hit.document]
        passage, place = passage_at(segment.index, hit), hit.position
        if current is not None:
            shift = len(current) - entry.size
            found = moved(passage, segment.index.offset(hit), shift, current)
            if found is None:
                return
            passage, place = found
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


def with_line_feeds(text: str) -> str:
    """Return a text with `\n` as line ending."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
