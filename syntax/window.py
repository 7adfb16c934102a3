"""The part of a very long text that is looked at: the lines near one place."""

from __future__ import annotations

import re

MAX_CHARACTERS = 300_000
"""Maximum characters of a text that is looked at as a whole."""
_MARGIN = 100_000
"""Characters before and after the place in a longer text."""

_STATEMENT_END = re.compile(r"[;}](?![\"'`])")


def near(text: str, start: int, end: int) -> tuple[str, int]:
    """Return the text near a place, and the offset at which it begins.

    It is the whole text, or whole lines, unless a line is very long.
    """
    if len(text) <= MAX_CHARACTERS:
        return text, 0
    first, last = max(0, start - _MARGIN), min(len(text), end + _MARGIN)
    if first:
        line_end = text.find("\n", first, start)
        # In a long line, a part that began within a string would hardly parse.
        boundary = _STATEMENT_END.search(text, first, start) if line_end < 0 else None
        first = boundary.end() if boundary is not None else max(first, line_end + 1)
    if last < len(text) and (line_end := text.rfind("\n", end, last)) >= 0:
        last = line_end + 1
    return text[first:last], first
