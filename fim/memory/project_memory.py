"""The texts of a project as they change, and passages of them for a place in one document.

A large segment holds most texts, and small ones hold those that changed since. A key press only
stores the new text. The next build, in the background, indexes it. Until then the old segment is
used: what it finds in a changed text counts only if the text still contains it.

Segments are merged so that each is at least twice as large as the next one. So their number, and
how often a text is indexed again, grow with the logarithm of the size.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, takewhile

from fim.memory.finder import Finder
from fim.memory.masking import mask
from fim.memory.passages import MAX_HITS, MIN_MATCH, select
from fim.memory.segments import Entry, Segment, Text
from fim.memory.suffix_index import SEPARATOR, Hit, SuffixIndex
from fim.snapshot import Passage

MAX_CHARACTERS = 20_000_000
"""Maximum characters of a project in its memory."""
MAX_DOCUMENT_CHARACTERS = 2_000_000
"""Maximum characters of a document in the memory, as for suggestions."""
_MAX_VISITED = 4 * MAX_HITS
"""Maximum number of places for one request, with those of texts that were replaced or removed."""


class ProjectMemory:
    """The texts of a project by their keys. All methods are safe in any thread."""

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._segments: tuple[Segment, ...] = ()
        """The segments, the largest first."""
        self._entries: dict[str, Entry] = {}
        """The entry of each document that counts."""
        self._changed: dict[str, Text] = {}
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
                self._changed[key] = Text(text)

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
            unchanged = {}
            for segment in merged:
                for number, entry in enumerate(segment.entries):
                    if self._counts(entry) and entry.key not in texts:
                        texts[entry.key] = segment.index.text(number)
                        unchanged[entry.key] = entry
            self._leave_out_what_does_not_fit(texts, kept)
            index = SuffixIndex(list(texts.values()))
            entries = tuple(Entry(key, len(text)) for key, text in texts.items())
            self._install(Segment(entries, index), kept, changed, unchanged)

    def passages(
        self, key: str, text: str, cursor: int, may_use: Callable[[str], bool] = lambda _: True
    ) -> tuple[Passage, ...]:
        """Return the passages for a place in a document, whose text may be newer than stored.

        `may_use` says whether the indexed text of another document still counts.
        """
        finder = Finder(self._changed.get, key, text, cursor)
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

    def _hits(self, context: str) -> Iterator[tuple[Segment, Hit]]:
        """Yield the places of all segments, the longest match first."""

        def hits_in(segment: Segment) -> Iterator[tuple[Segment, Hit]]:
            return ((segment, hit) for hit in segment.index.hits(context))

        merged = heapq.merge(*map(hits_in, self._segments), key=lambda each: -each[1].match_length)
        long_enough = takewhile(lambda each: each[1].match_length >= MIN_MATCH, merged)
        return islice(long_enough, _MAX_VISITED)

    def _counts(self, entry: Entry) -> bool:
        """Whether an entry is the latest one of its document, and the document not forgotten."""
        return self._entries.get(entry.key) is entry

    def _used(self, segment: Segment) -> int:
        return sum(entry.size for entry in segment.entries if self._counts(entry))

    def _segments_to_merge(self, texts: Mapping[str, str]) -> list[Segment]:
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

    def _leave_out_what_does_not_fit(self, texts: dict[str, str], kept: Sequence[Segment]) -> None:
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
        new: Segment,
        kept: Sequence[Segment],
        changed: Mapping[str, Text],
        unchanged: Mapping[str, Entry],
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
            for key, earlier in unchanged.items():
                if self._counts(earlier):
                    del self._entries[key]
                    if key in entries:
                        self._entries[key] = entries[key]
            self._num_forgotten = 0
            segments = sorted((*kept, new), key=lambda segment: -segment.size)
            self._segments = tuple(filter(self._used, segments))
