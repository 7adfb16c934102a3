"""Splits code into words for the search: `parseHTTPHeader` is parse, http and header."""

from __future__ import annotations

import re

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
"""Words that do not characterise a piece of code."""


def words(text: str) -> list[str]:
    """Return the words of a text in order, in lower case, without common words."""
    result = []
    for name in _NAME.findall(text):
        parts = _PART.findall(name) if name.isascii() else [name]
        for part in parts:
            word = part.lower()
            if len(word) > 1 and word not in _COMMON:
                result.append(word)
    return result


def last_words(text: str, max_count: int) -> list[str]:
    """Return the last different words of a text, the last one first."""
    return list(dict.fromkeys(reversed(words(text))))[:max_count]
