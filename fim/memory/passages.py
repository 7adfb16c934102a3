"""Makes passages of hits, and the numbers that decide how many and how long they are."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fim.memory.suffix_index import SEPARATOR, Hit, SuffixIndex
from fim.snapshot import Passage

MAX_PASSAGES = 32
MAX_HITS = 64
"""Maximum number of places that are looked at for one request."""
MIN_MATCH = 4
"""Minimum number of characters before a place that equal those before the cursor."""
MAX_BEFORE_LINES = 3
"""Maximum number of lines in `Passage.before`, with the line of the place."""
MAX_BEFORE = 200
"""Maximum number of characters in `Passage.before`."""
MAX_AFTER_LINES = 4
MAX_AFTER = 200
"""Maximum number of characters in `Passage.after`."""

_BYTES_PER_CHARACTER = 4
_NEAR = 20_000
"""Maximum distance that an edit moves a place; places that moved farther are not found again."""
_PROBE = 40
"""Number of characters on each side by which a place is found again in a changed text."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the project with the text around it."""

    passage: Passage
    is_same_document: bool
    distance: int
    """Number of characters between the place and the cursor, if the document is the same."""


def passage_at(index: SuffixIndex, hit: Hit) -> Passage:
    """Return the passage at a hit."""
    before = index.before(hit, MAX_BEFORE * _BYTES_PER_CHARACTER)[-MAX_BEFORE:]
    after = index.after(hit, MAX_AFTER * _BYTES_PER_CHARACTER)[:MAX_AFTER]
    return Passage(_last_lines(before), _first_lines(after), hit.match_length)


def moved(passage: Passage, offset: int, shift: int, text: str) -> tuple[Passage, int] | None:
    """Find a passage again in a text that has changed since.

    `offset` is the place in the earlier text, `shift` the difference of the lengths. Returns the
    part of the passage that the text still contains, and its place; None if nothing is left.
    """
    head = passage.before[-min(_PROBE, passage.match_length) :]
    near = head + passage.after[:1]
    for place in (offset + shift, offset):
        if place >= len(head) and text.startswith(near, place - len(head)):
            return _common_part(passage, place, text), place
    probe = head + passage.after[:_PROBE]
    start = max(0, offset - _NEAR)
    head_start = text.find(probe, start, offset + _NEAR)
    if head_start < 0:
        return None
    place = head_start + len(head)
    return _common_part(passage, place, text), place


def without_overlap(passage: Passage, place: int, cursor: int) -> Passage:
    """Return the part of a passage of the document at the cursor that the cursor does not touch."""
    distance = abs(place - cursor)
    after = passage.after[:distance] if place < cursor else passage.after
    return replace(passage, after=after, match_length=min(passage.match_length, distance))


def select(places: Iterable[Place]) -> tuple[Passage, ...]:
    """Merge equal passages, and return the best ones.

    The longest match comes first. Of equal matches, those in the same document come first, the
    nearest one before the others.
    """
    merged: dict[tuple[int, str], Place] = {}
    for place in sorted(
        places,
        key=lambda each: (
            -each.passage.match_length,
            not each.is_same_document,
            each.distance,
        ),
    ):
        passage = place.passage
        key = (passage.match_length, passage.after)
        if key in merged:
            first = merged[key]
            counted = replace(first.passage, count=first.passage.count + 1)
            merged[key] = replace(first, passage=counted)
        elif passage.match_length >= MIN_MATCH and passage.after:
            merged[key] = place
    return tuple(place.passage for place in merged.values())[:MAX_PASSAGES]


def _last_lines(text: str) -> str:
    """Return the last lines of a text, from the start of a line if there is one."""
    visible = text.rpartition(SEPARATOR)[2]
    lines = visible.split("\n")
    if len(visible) == len(text) == MAX_BEFORE and len(lines) > 1:
        lines = lines[1:]  # the beginning of the first line is missing
    return "\n".join(lines[-MAX_BEFORE_LINES:])


def _first_lines(text: str) -> str:
    """Return the first lines of a text, with their line endings."""
    visible, end = text.partition(SEPARATOR)[0], 0
    for _ in range(MAX_AFTER_LINES):
        end = visible.find("\n", end) + 1
        if not end:
            return visible
    return visible[:end]


def _common_part(passage: Passage, place: int, text: str) -> Passage:
    """Return the part of a passage around its place that equals the text around `place`."""
    before, after = passage.before, passage.after
    start = max(0, place - len(before))
    kept = before[len(before) - _common_suffix(before, text[start:place]) :]
    length = passage.match_length
    if len(kept) < len(before):
        length = min(length, len(kept))
        kept = kept.partition("\n")[2] if "\n" in kept else kept
    same = _common_prefix(after, text[place : place + len(after)])
    return replace(passage, before=kept, after=after[:same], match_length=length)


def _common_suffix(first: str, second: str) -> int:
    """Return the number of characters at the end that are equal."""
    sizes = range(min(len(first), len(second)) + 1)
    return (
        bisect(
            sizes,
            False,
            key=lambda size: first[len(first) - size :] != second[len(second) - size :],
        )
        - 1
    )


def _common_prefix(first: str, second: str) -> int:
    """Return the number of characters at the beginning that are equal."""
    sizes = range(min(len(first), len(second)) + 1)
    return bisect(sizes, False, key=lambda size: first[:size] != second[:size]) - 1
