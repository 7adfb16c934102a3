"""Finds the lines that a change has added to the files of a project.

Random lines of a project are easier to predict than the next line that somebody writes, because
much of what a project contains it contains more than once. So holes can be restricted to added
lines. Lines are compared without the white space at their ends, so a line that was only reindented
is not added.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_MAX_DIFF_LINES = 20_000
"""Maximum lines of a file for an exact diff, whose time is quadratic in the worst case."""


@dataclass(frozen=True, slots=True)
class AddedLines:
    """The lines that a change added to a file, by their numbers from 0; no line is empty."""

    new: frozenset[int]
    """Lines whose text was not in the older version of the file, and was moved from no other."""
    inserted: frozenset[int]
    """The new lines, and lines such as `else:` that were inserted although the file had others."""

    def contain(self, text: str, start: int, end: int) -> bool:
        """Whether a part of the file's text was added.

        All its lines must have been inserted, and at least half of them must be new.
        """
        first = text.count("\n", 0, start)
        pieces = enumerate(text[start:end].split("\n"), start=first)
        touched = {number for number, piece in pieces if piece.strip()}
        return touched <= self.inserted and 0 < len(touched) <= 2 * len(touched & self.new)


def find_added(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, AddedLines]:
    """Return the added lines of each newer file, by its path; files without new lines are left out.

    `old` and `new` are the texts of the files that a change touched, before and after it. All lines
    of a file that has no older version are added, except those that were moved: a line that another
    file has lost was not written. Each lost line accounts for one line elsewhere.
    """
    before = {path: _stripped_lines(text) for path, text in old.items()}
    after = {path: _stripped_lines(text) for path, text in new.items()}
    lost = Counter[str]()
    for path, lines in before.items():
        kept = set(after.get(path, ()))
        lost.update(line for line in lines if line not in kept)
    added = {}
    for path, lines in sorted(after.items()):
        older = before.get(path, [])
        new_lines, moved_lines = _new_lines(older, lines, lost)
        if new_lines:
            inserted = (_inserted(older, lines) - moved_lines) | new_lines
            added[path] = AddedLines(new_lines, frozenset(inserted))
    return added


def _stripped_lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]


def _new_lines(
    older: Sequence[str], lines: Sequence[str], lost: Counter[str]
) -> tuple[frozenset[int], set[int]]:
    """Return the lines that are new and those that were moved here, which `lost` loses."""
    older_texts = set(older)
    new, moved = set[int](), set[int]()
    for number, line in enumerate(lines):
        if not line or line in older_texts:
            continue
        if lost[line]:
            lost[line] -= 1
            moved.add(number)
        else:
            new.add(number)
    return frozenset(new), moved


def _inserted(older: Sequence[str], lines: Sequence[str]) -> set[int]:
    """Return the lines that an exact diff reports as inserted or changed, without empty ones."""
    if max(len(older), len(lines)) > _MAX_DIFF_LINES:
        return set()
    matcher = difflib.SequenceMatcher(None, older, lines)
    return {
        number
        for tag, _, _, start, end in matcher.get_opcodes()
        if tag in ("insert", "replace")
        for number in range(start, end)
        if lines[number]
    }
