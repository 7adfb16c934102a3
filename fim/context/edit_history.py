"""The recent edits of one text, as its older versions become newer ones.

An edit is a range of lines of the newest version and the lines that were there before. Changes that
touch an edit become a part of it, however many versions apart they are. So an edit has the lines
before its first change and after its last one, as a person would describe it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fim.context.line_changes import LineChange, line_changes

MERGE_LINES = 1
"""Maximum number of unchanged lines between two changes that are one edit."""

MAX_EDITS = 16
"""Maximum number of edits that are kept of one text; the oldest are dropped first."""


@dataclass(frozen=True, slots=True)
class LineEdit:
    """Lines of a text, and those that they replaced."""

    start: int
    end: int
    """The lines `start:end` of the newest version."""
    before: tuple[str, ...]
    """The lines in their place before the edit."""
    changed: int
    """Number of the version with the last change of the edit."""


class EditHistory:
    """The edits of one text."""

    def __init__(self, text: str, max_edits: int = MAX_EDITS) -> None:
        """Begin with the version `text`, which has no edits."""
        self.lines = text.split("\n")
        self._max_edits = max_edits
        self._edits: list[LineEdit] = []

    def update(self, text: str, version: int) -> None:
        """Record the changes from the newest version to `text`."""
        old, lines = self.lines, text.split("\n")
        # From the last change to the first, so that the lines above keep their numbers.
        for change in reversed(line_changes(old, lines)):
            self._record(change, old, version)
        self.lines = lines
        self._edits = [each for each in self._edits if each.before != self.after(each)]
        if len(self._edits) > self._max_edits:
            newest = sorted(self._edits, key=lambda each: -each.changed)[: self._max_edits]
            self._edits = [each for each in self._edits if each in newest]

    @property
    def edits(self) -> Sequence[LineEdit]:
        """The edits, from the first line to the last."""
        return self._edits

    def after(self, edit: LineEdit) -> tuple[str, ...]:
        """Return the lines of an edit in the newest version."""
        return tuple(self.lines[edit.start : edit.end])

    def _record(self, change: LineChange, old: Sequence[str], version: int) -> None:
        """Add a change to the edits that it touches; it becomes an edit if there are none.

        Edits below the change have the line numbers of the new version already.
        """
        shift = (change.new_end - change.new_start) - (change.old_end - change.old_start)
        above: list[LineEdit] = []
        touched: list[LineEdit] = []
        below: list[LineEdit] = []
        for edit in self._edits:
            if edit.end + MERGE_LINES < change.old_start:
                above.append(edit)
            elif edit.start > change.old_end + MERGE_LINES:
                below.append(_moved(edit, shift))
            else:
                touched.append(edit)
        start = min([change.old_start, *(edit.start for edit in touched)])
        end = max([change.old_end, *(edit.end for edit in touched)])
        before: list[str] = []
        line = start
        for edit in touched:
            before += (*old[line : edit.start], *edit.before)
            line = edit.end
        before += old[line:end]
        merged = LineEdit(start, end + shift, tuple(before), version)
        self._edits = [*above, merged, *below]


def _moved(edit: LineEdit, shift: int) -> LineEdit:
    return LineEdit(edit.start + shift, edit.end + shift, edit.before, edit.changed)
