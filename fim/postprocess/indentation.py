"""Indentation of a file, and of text that is moved to another place."""

from __future__ import annotations

from collections import Counter

_MAX_LINES = 400
"""Maximum number of lines from which the indentation of a file is derived."""


def indent_of(line: str) -> str:
    """Return the white space at the beginning of a line."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def indent_unit(text: str) -> str:
    """Return one level of a file's indentation: a tab, or the most frequent number of spaces."""
    steps: Counter[int] = Counter()
    previous = 0
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        if line.startswith("\t"):
            return "\t"
        if line.strip():
            width = len(line) - len(line.lstrip(" "))
            if width > previous:
                steps[width - previous] += 1
            previous = width
    return " " * (steps.most_common(1)[0][0] if steps else 4)


def reindented(text: str, old: str, new: str, unit: str) -> str:
    """Return a text after its first line was moved from the indentation `old` to `new`.

    The first line of `text` begins after the indentation. `unit` is one level of the indentation at
    the new place. The text ends before a line that cannot be moved.
    """
    first, *lines = text.split("\n")
    step = _step(lines, old)
    moved = [first]
    for line in lines:
        indent = indent_of(line)
        if indent == line:
            moved.append("")
        elif indent.startswith(old):
            moved.append(new + _converted(indent[len(old) :], unit, step) + line[len(indent) :])
        elif old.startswith(indent) and (removed := len(old) - len(indent)) <= len(new):
            if set(old[-removed:]) != set(new[len(new) - removed :]):
                break  # tabs against spaces: the number of levels is unknown
            moved.append(new[: len(new) - removed] + line[len(indent) :])
        else:
            break
    return "\n".join(moved)


def _step(lines: list[str], base: str) -> int:
    """Return the smallest number of spaces by which a line is indented deeper than `base`."""
    extras = (indent_of(line)[len(base) :] for line in lines if line.startswith(base + " "))
    return min(map(len, extras), default=4)


def _converted(extra: str, unit: str, step: int) -> str:
    """Return the indentation `extra` with tabs where a file has tabs, and spaces otherwise."""
    if unit == "\t" and extra and not extra.strip(" "):
        return "\t" * (len(extra) // step) + " " * (len(extra) % step)
    return extra if unit == "\t" else extra.replace("\t", unit)
