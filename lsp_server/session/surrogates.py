"""Lone surrogates: halves of a UTF-16 surrogate pair, which JSON can contain and UTF-8 cannot.

An editor that counts in UTF-16 may send such a half, or split a character into its halves by an
edit. Tokenizers, files and databases take only well-formed text.
"""

from __future__ import annotations

import re
from typing import Any

REPLACEMENT = "\ufffd"
_SURROGATE = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """Return a text of the same length, in code points and in UTF-16, that UTF-8 can encode."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(REPLACEMENT, text)
    return text


def join_pairs(text: str) -> str:
    """Return the text in which each two halves that form a pair are one character."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def halves(character: str) -> tuple[str, str]:
    """Return both halves of a character outside the Basic Multilingual Plane."""
    offset = ord(character) - 0x10000
    return chr(0xD800 + (offset >> 10)), chr(0xDC00 + (offset & 0x3FF))


def well_formed(value: Any, keep: str | None = None) -> Any:
    """Return a JSON value whose texts have no lone surrogates; members named `keep` stay."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [well_formed(inner, keep) for inner in value]
    if isinstance(value, dict):
        return {
            replace_surrogates(key): inner if key == keep else well_formed(inner, keep)
            for key, inner in value.items()
        }
    return value
