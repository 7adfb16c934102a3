"""The text around the cursor as passages, without keys and personal data."""

from __future__ import annotations

from fim.memory.masking import mask
from fim.memory.suffix_index import SEPARATOR
from fim.prompt.window import unix_lines
from fim.snapshot import Snapshot

_NEAR_CHARACTERS = 1500
"""Maximum number of characters of the document on each side of the cursor."""
_MAX_PARTS = 40
"""Maximum number of parts on each side, since a request has a limited number of passages."""


def near_parts(snapshot: Snapshot, end: int) -> list[str]:
    """Return the whole lines above and below the cursor, cut where something is hidden.

    The output follows `snapshot.text[:end]`; the half-typed word from there to the cursor is left
    out. A key that the cursor divides is hidden on both sides.
    """
    text, cursor = snapshot.text, snapshot.cursor
    first = max(0, end - _NEAR_CHARACTERS)
    if first:
        first = text.find("\n", first, end) + 1 or end
    last = min(len(text), cursor + _NEAR_CHARACTERS)
    if last < len(text):
        last = text.rfind("\n", cursor, last) + 1 or cursor
    above, typed, below = map(unix_lines, (text[first:end], text[end:cursor], text[cursor:last]))
    masked = mask(above + typed + below)
    return [
        *_visible(masked[: len(above)])[-_MAX_PARTS:],
        *_visible(masked[len(above) + len(typed) :])[:_MAX_PARTS],
    ]


def _visible(masked: str) -> list[str]:
    return [part for part in masked.split(SEPARATOR) if part]
