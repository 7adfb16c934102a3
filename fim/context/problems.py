"""Selects the diagnostics of a document that are useful at the cursor."""

from __future__ import annotations

from fim.memory.masking import mask
from fim.snapshot import Problem, Snapshot

MAX_PROBLEMS = 6
MAX_MESSAGE_CHARACTERS = 200
"""Maximum characters of a message that is used. The rest of a longer one is left out."""
_UNFINISHED_LINES = 1
"""Number of lines around the cursor's line whose diagnostics are left out.

While somebody types there, most of them say that the statement is incomplete.
"""


def nearest_problems(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Return the diagnostics nearest to the cursor, in the order of their lines.

    Of a message, the first line is used. Those with a key or personal data are left out.
    """
    cursor_line = snapshot.text.count("\n", 0, snapshot.cursor)

    def distance(problem: Problem) -> int:
        return abs(problem.line - cursor_line)

    finished = [each for each in snapshot.problems if distance(each) > _UNFINISHED_LINES]
    nearest = sorted(map(_shortened, finished), key=distance)
    usable = [each for each in nearest if each.message and mask(each.message) == each.message]
    return tuple(sorted(dict.fromkeys(usable[:MAX_PROBLEMS]), key=lambda each: each.line))


def _shortened(problem: Problem) -> Problem:
    first_line = problem.message.strip().partition("\n")[0].rstrip()
    return Problem(problem.line, first_line[:MAX_MESSAGE_CHARACTERS])
