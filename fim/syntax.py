"""No suggestion that breaks a file which parsed: cut back to what fits, or dropped.

Only lines near the cursor are parsed, so that the cost does not grow with the file. What the window
cuts off looks broken at its borders, before and after alike: it is the difference that tells.
"""

from __future__ import annotations

from fim.snapshot import Snapshot
from syntax.grammars import errors, parser

WINDOW_LINES = 150
"""Lines parsed on either side of the cursor."""


def mend(text: str, replaced: int, snapshot: Snapshot) -> str:
    """Return the longest beginning of a suggestion that breaks nothing; empty if every one does.

    `replaced` characters right of the cursor give way to the suggestion. Where what is around it
    parsed, it must parse with it. Where it did not, as in a line half typed, only a bracket too
    many is cut off, if that mends something.
    """
    language = snapshot.language_id
    if parser(language) is None:
        return text
    above, below = _window(snapshot, replaced)
    excess = closes_more_than_it_opens(text)
    before = errors(above + snapshot.after[:replaced] + below, language) or 0
    if before and not excess:
        return text
    whole = errors(above + text + below, language) or 0
    if whole == 0:
        return text
    limit = whole - 1 if before else 0
    fitting = (
        end for end in _ends(text) if (errors(above + text[:end] + below, language) or 0) <= limit
    )
    return text[: next(fitting, len(text) if before else 0)]


def closes_more_than_it_opens(text: str) -> bool:
    """Whether a closing bracket of a text has no opening one in it."""
    depth = 0
    for character in text:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return True
    return False


def lines_above(snapshot: Snapshot) -> str:
    """Return the text before the cursor, as much of it as is parsed."""
    start = snapshot.cursor
    for _ in range(WINDOW_LINES):
        start = snapshot.text.rfind("\n", 0, max(start, 0))
    return snapshot.text[start + 1 : snapshot.cursor]


def _window(snapshot: Snapshot, replaced: int) -> tuple[str, str]:
    text, end = snapshot.text, snapshot.cursor + replaced
    for _ in range(WINDOW_LINES):
        found = text.find("\n", end)
        if found < 0:
            end = len(text)
            break
        end = found + 1
    return lines_above(snapshot), text[snapshot.cursor + replaced : end]


_MOST_ENDS = 24


def _ends(text: str) -> list[int]:
    """Return where a suggestion may be cut: after a line, or in its last one after a word."""
    last = text.rfind("\n") + 1
    line = text[last:]
    words = [
        last + at
        for at in range(len(line) - 1, 0, -1)
        if not (line[at - 1].isalnum() and line[at].isalnum()) and not line[at - 1].isspace()
    ]
    lines = [at for at in range(len(text) - 1, 0, -1) if text[at] == "\n"]
    return [*words[:_MOST_ENDS], *lines][: 2 * _MOST_ENDS]
