"""A text as keys bring it, and as words and lines of a suggestion are taken."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


def keys(text: str) -> Iterator[str]:
    """Yield what each key brings, from a line's beginning on: see `next_key`."""
    at = 0
    while at < len(text):
        key = next_key(text[at:], fresh=at == 0)
        yield key
        at += len(key)


def next_key(left: str, *, fresh: bool) -> str:
    """Return a character, or a line end with the indentation behind it.

    On a `fresh` line, where nothing is yet, the editor has put the indentation too.
    """
    line = left[1:] if left[0] == "\n" else left
    indent = len(indentation(line))
    if left[0] == "\n":
        return "\n" if line[indent : indent + 1] == "\n" else left[: 1 + indent]
    return left[: max(1, indent)] if fresh else left[0]


def first_lines(text: str, left: str) -> str:
    """Return the first lines of a text of several that `left` begins with; empty for none."""
    lines = text.split("\n")
    for count in range(len(lines) - 1, 0, -1):
        part = "\n".join(lines[:count])
        if part.strip() and left.startswith(part):
            return part
    return ""


def first_words(text: str, left: str) -> str:
    """Return the first words of a text that `left` begins with as words; empty for none."""
    end = 0
    for word in _WORD.finditer(text):
        cut_off = text[word.end() - 1].isalnum() and left[word.end() : word.end() + 1].isalnum()
        if not left.startswith(text[: word.end()]) or cut_off:
            break
        end = word.end()
    return text[:end]


def words(text: str) -> list[str]:
    """Return the words of a text, each with the white space before it, as editors take them."""
    return _WORD.findall(text)


def indentation(line: str) -> str:
    """Return the white space that a line begins with."""
    return line[: len(line) - len(line.lstrip(" \t"))]
