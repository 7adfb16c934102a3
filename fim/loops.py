"""Repetition: what a model writes when it has lost the thread."""

from __future__ import annotations

import re

_UNIT = re.compile(r"(?P<unit>.{3,40}?)(?P=unit){3,}")
"""Four times the same within a line."""

_SHORTEST = 4
"""A line shorter than this, such as `}` or `],`, may well stand twice."""


def without_loops(text: str) -> str:
    """Return the text up to where it begins to repeat itself.

    A line goes on repeating where one unit stands four times over, and lines do where one or two
    are followed by themselves. Rulers such as `-----` are meant.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if _loops(line) or _repeats(lines, index):
            return "\n".join(lines[:index])
    return text


def _loops(line: str) -> bool:
    found = _UNIT.search(line)
    return found is not None and len(set(found["unit"].strip())) > 1


def _repeats(lines: list[str], index: int) -> bool:
    line = lines[index].strip()
    if len(line) < _SHORTEST:
        return False
    if index >= 1 and lines[index - 1].strip() == line:
        return True
    pair = [one.strip() for one in lines[index - 3 : index + 1]]
    return index >= 3 and pair[:2] == pair[2:]
