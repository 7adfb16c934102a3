"""The edits of a commit, as the recent edits of somebody who is about to write one of its lines.

Nothing says in which order the edits of a commit were made. So each of them is taken to be older
than a given line with a probability of one half.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from fim.context.edit_history import EditHistory
from fim.context.recent_edits import MAX_EDITS, is_near, is_short, most_similar, shown_edit
from fim.snapshot import Edit, Snapshot


@dataclass(frozen=True, slots=True)
class CommitEdit:
    """An edit, and its lines `start:end` in the newer version of its file."""

    start: int
    end: int
    edit: Edit


def edits_between(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[CommitEdit, ...]:
    """Return the edits between two versions of files, by their paths, that a prompt may show.

    A new file has none, as in an editor.
    """
    edits = []
    for path in sorted(old.keys() & new.keys()):
        history = EditHistory(old[path], max_edits=len(new[path]))
        history.update(new[path], 1)
        edits += [
            CommitEdit(edit.start, edit.end, shown_edit(path, history, edit))
            for edit in history.edits
            if is_short(history, edit)
        ]
    return tuple(edits)


def earlier_edits(
    edits: tuple[CommitEdit, ...], snapshot: Snapshot, path: str, seed: str
) -> tuple[Edit, ...]:
    """Return the edits for a prompt at the cursor, as in an editor. `path` is the document's.

    `seed` decides which edits are older than the line at the cursor.
    """
    rng = random.Random(seed)
    cursor_line = snapshot.text.count("\n", 0, snapshot.cursor)
    older = [
        each.edit
        for each in edits
        if rng.random() < 0.5
        and not (each.edit.path == path and is_near(each.start, each.end, cursor_line))
    ]
    return tuple(most_similar(older, snapshot)[:MAX_EDITS])
