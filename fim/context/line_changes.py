"""The lines that differ between two versions of a text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

_MAX_DIFF_LINES = 500
"""Maximum lines between the first and the last difference for an exact diff.

Its time is quadratic in the worst case. Beyond that, all these lines are one change.
"""


@dataclass(frozen=True, slots=True)
class LineChange:
    """Lines `old_start:old_end` of the older version, replaced by `new_start:new_end`."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def line_changes(old: Sequence[str], new: Sequence[str]) -> list[LineChange]:
    """Return the changes from one list of lines to another, in order."""
    start = _num_common(old, new, min(len(old), len(new)))
    max_end = min(len(old), len(new)) - start
    num_last = _num_common(old[::-1], new[::-1], max_end)
    old_lines, new_lines = old[start : len(old) - num_last], new[start : len(new) - num_last]
    if not old_lines and not new_lines:
        return []
    if max(len(old_lines), len(new_lines)) > _MAX_DIFF_LINES or not (old_lines and new_lines):
        return [LineChange(start, start + len(old_lines), start, start + len(new_lines))]
    matcher = difflib.SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    return [
        LineChange(start + old_start, start + old_end, start + new_start, start + new_end)
        for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes()
        if tag != "equal"
    ]


def _num_common(old: Sequence[str], new: Sequence[str], limit: int) -> int:
    """Return how many lines at the beginning are equal, at most `limit`."""
    return next((n for n in range(limit) if old[n] != new[n]), limit)
