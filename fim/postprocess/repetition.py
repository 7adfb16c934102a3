"""Repetition: what a model writes when it has lost the thread."""

from __future__ import annotations

import re

_UNIT = re.compile(r"(?P<unit>.{3,40}?)(?P=unit){3,}")
"""Four times the same within a line."""

_COMMENTS = ("#", "//", "/*", "*", "--", ";", "%", "=", "-", "~", "<!--")
"""Beginnings of lines that may well be rulers."""

_SHORTEST = 4
"""A line shorter than this, such as `}` or `],`, may well stand twice."""


def without_repetition(text: str, begun: str = "") -> str:
    """Return the text up to where it begins to repeat itself; `begun` is its line before it.

    A line goes on repeating where one unit stands four times over, and lines do where one or two
    are followed by themselves. Rulers such as `# -----` are meant, in a comment.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if _loops(line, line if index else begun + line) or _repeats(lines, index):
            return "\n".join(lines[:index])
    return text


def _loops(line: str, whole: str) -> bool:
    found = _UNIT.search(line)
    if found is None or not found["unit"].strip():
        return False
    ruler = len(set(found["unit"])) == 1
    return not (ruler and whole.lstrip().startswith(_COMMENTS))


def _repeats(lines: list[str], index: int) -> bool:
    line = lines[index].strip()
    if len(line) < _SHORTEST:
        return False
    if index >= 1 and lines[index - 1].strip() == line:
        return True
    pair = [one.strip() for one in lines[index - 3 : index + 1]]
    return index >= 3 and pair[:2] == pair[2:]
