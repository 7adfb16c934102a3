"""Which parts of other files help at the cursor."""

from __future__ import annotations

import re
from collections.abc import Set

from fim.context.definitions import imported
from fim.context.index import Index
from fim.context.words import telling
from fim.snapshot import Excerpt, Snapshot

MOST_EXCERPTS = 8
_NEAR_CHARACTERS = 1500
"""What stands this near the cursor says what is wanted."""
_WORDS = 20
_ALIKE = 4
_CONSIDERED = 12
_RECENT = 1.3
"""How much more a file counts that is open now."""
_NAME = re.compile(r"[^\W\d]\w*")


def related(
    snapshot: Snapshot, index: Index, recent: Set[str] = frozenset()
) -> tuple[Excerpt, ...]:
    """Return parts of other files, the most useful first.

    Definitions of imported names that stand near the cursor, nearest first, then the pieces that
    are most like the text around it. Files of `recent`, by their paths, count for more.
    """
    start = max(0, snapshot.cursor - _NEAR_CHARACTERS)
    near = snapshot.text[start : snapshot.cursor]
    found = [*_definitions(near, snapshot, index), *_alike(near, snapshot, index, recent)]
    return tuple(dict.fromkeys(found))[:MOST_EXCERPTS]


def _definitions(near: str, snapshot: Snapshot, index: Index) -> list[Excerpt]:
    names = imported(snapshot.text, snapshot.language_id)
    used = dict.fromkeys(reversed(_NAME.findall(near)))
    found = []
    for name in used:
        if name in names:
            found += index.defined(name, snapshot.path)[:1]
    return found[: MOST_EXCERPTS - _ALIKE]


def _alike(near: str, snapshot: Snapshot, index: Index, recent: Set[str]) -> list[Excerpt]:
    found = index.alike(telling(near, _WORDS), snapshot.path, _CONSIDERED)
    found.sort(key=lambda one: -one.score * (_RECENT if one.excerpt.path in recent else 1.0))
    return [one.excerpt for one in found[:_ALIKE]]
