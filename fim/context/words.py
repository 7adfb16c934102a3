"""The words of code, for finding what is alike: `parseHTTPHeader` is parse, http and header."""

from __future__ import annotations

import re
from collections import Counter

_NAME = re.compile(r"[^\W\d_]+|\d+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]")

_COMMON = frozenset(
    {
        "self",
        "this",
        "def",
        "return",
        "if",
        "else",
        "elif",
        "for",
        "in",
        "not",
        "and",
        "or",
        "is",
        "none",
        "true",
        "false",
        "null",
        "import",
        "from",
        "class",
        "function",
        "const",
        "let",
        "var",
        "new",
        "public",
        "private",
        "static",
        "void",
        "int",
        "str",
        "string",
        "bool",
        "end",
        "then",
        "do",
        "the",
        "a",
        "of",
        "to",
        "an",
        "be",
        "as",
        "with",
        "try",
        "except",
        "catch",
        "finally",
        "raise",
        "throw",
        "while",
        "break",
        "continue",
        "pass",
        "fn",
        "func",
        "type",
        "struct",
        "impl",
        "pub",
        "use",
        "package",
        "nil",
    }
)
"""Words that say nothing of what a piece of code is about."""


def words(text: str) -> list[str]:
    """Return the words of a text in order, in lower case, without those that all code has."""
    found = []
    for name in _NAME.findall(text):
        parts = _PART.findall(name) if name.isascii() else [name]
        for part in parts:
            word = part.lower()
            if len(word) > 1 and word not in _COMMON:
                found.append(word)
    return found


def telling(text: str, most: int) -> list[str]:
    """Return at most `most` different words of a text, those nearest its end first."""
    return list(Counter(reversed(words(text))))[:most]
