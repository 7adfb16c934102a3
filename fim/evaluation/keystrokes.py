"""Splits a text into key presses, and a suggestion into the lines and words that are correct."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


def keys(text: str) -> Iterator[str]:
    """Yield the text that each key press inserts, see `next_key`."""
    position = 0
    while position < len(text):
        key = next_key(text[position:], line_is_empty=position == 0)
        yield key
        position += len(key)


def next_key(remaining: str, *, line_is_empty: bool) -> str:
    """Return the text that the next key press inserts: a character, or an indented new line.

    Editors indent new lines. They also do so for an empty line at the start of a passage.
    """
    line = remaining[1:] if remaining[0] == "\n" else remaining
    indent = len(indentation(line))
    if remaining[0] == "\n":
        return "\n" if line[indent : indent + 1] == "\n" else remaining[: 1 + indent]
    return remaining[: max(1, indent)] if line_is_empty else remaining[0]


def first_lines(text: str, expected: str) -> str:
    """Return the first lines of a suggestion that `expected` begins with, never its last line."""
    lines = text.split("\n")
    for count in range(len(lines) - 1, 0, -1):
        part = "\n".join(lines[:count])
        if part.strip() and expected.startswith(part):
            return part
    return ""


def first_words(text: str, expected: str) -> str:
    """Return the first whole words of a suggestion with which `expected` begins."""
    end = 0
    for word in _WORD.finditer(text):
        following = expected[word.end() : word.end() + 1]
        is_partial = text[word.end() - 1].isalnum() and following.isalnum()
        if not expected.startswith(text[: word.end()]) or is_partial:
            break
        end = word.end()
    return text[:end]


def words(text: str) -> list[str]:
    """Return the words of a text, each with the white space before it, as editors accept them."""
    return _WORD.findall(text)


def indentation(line: str) -> str:
    """Return the white space at the beginning of a line."""
    return line[: len(line) - len(line.lstrip(" \t"))]
