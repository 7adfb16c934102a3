"""Selects the excerpts of other files that are useful at the cursor."""

from __future__ import annotations

import re
from collections.abc import Set

from fim.context.definitions import imported
from fim.context.index import Index
from fim.context.words import last_words
from fim.snapshot import Excerpt, Snapshot

MAX_EXCERPTS = 8
_NEAR_CHARACTERS = 1500
"""Maximum number of characters before the cursor that are used as the query."""
_MAX_QUERY_WORDS = 20
_MAX_SIMILAR = 4
_NUM_MATCHES = 12
_OPEN_FILE_WEIGHT = 1.3
"""Factor for the scores of files that are open in the editor."""
_NAME = re.compile(r"[^\W\d]\w*")


def find_excerpts(
    snapshot: Snapshot, index: Index, open_paths: Set[str] = frozenset()
) -> tuple[Excerpt, ...]:
    """Return excerpts of other files, the most useful first.

    - First come definitions of imported names that occur near the cursor, the nearest name first.
    - Then come the chunks that are most similar to the text before the cursor. Files in
      `open_paths` have a higher weight.
    """
    start = max(0, snapshot.cursor - _NEAR_CHARACTERS)
    near = snapshot.text[start : snapshot.cursor]
    excerpts = [
        *_definitions(near, snapshot, index),
        *_similar(near, snapshot, index, open_paths),
    ]
    return tuple(dict.fromkeys(excerpts))[:MAX_EXCERPTS]


def _definitions(near: str, snapshot: Snapshot, index: Index) -> list[Excerpt]:
    imported_names = imported(snapshot.text, snapshot.language_id)
    used_names = dict.fromkeys(reversed(_NAME.findall(near)))
    excerpts = []
    for name in used_names:
        if name in imported_names:
            excerpts += index.definitions_of(name, snapshot.path)[:1]
    return excerpts[: MAX_EXCERPTS - _MAX_SIMILAR]


def _similar(near: str, snapshot: Snapshot, index: Index, open_paths: Set[str]) -> list[Excerpt]:
    matches = index.similar(last_words(near, _MAX_QUERY_WORDS), snapshot.path, _NUM_MATCHES)
    matches.sort(
        key=lambda match: (
            -match.score * (_OPEN_FILE_WEIGHT if match.excerpt.path in open_paths else 1.0)
        )
    )
    return [match.excerpt for match in matches[:_MAX_SIMILAR]]
