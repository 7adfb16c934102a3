"""A tokenizer for brackets, quotes and comments in a text that may end anywhere.

It needs no grammar, so it works for all languages and for incomplete lines. It knows strings within
one line only. `fim.postprocess.open_brackets` handles strings of several lines, with a grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

OPENERS = "([{"
CLOSERS = ")]}"
OPENER_OF = dict(zip(CLOSERS, OPENERS, strict=True))
QUOTES = "\"'`"
_STRING_REST = {quote: re.compile(rf"(?:\\.|[^{quote}\\\n])*{quote}") for quote in QUOTES}
"""Patterns for the rest of a string after its opening quote."""


class Kind(Enum):
    """Kinds of tokens."""

    OPENER = "opening bracket"
    CLOSER = "closing bracket"
    UNCLOSED_QUOTE = "quote that opens a string which does not end on its line"
    FINAL_QUOTE = "quote that ends the string in which the text begins"


@dataclass(frozen=True, slots=True)
class Token:
    """A bracket or quote."""

    kind: Kind
    character: str
    offset: int


def scan(
    text: str,
    *,
    quotes: str = QUOTES,
    comments: bool = False,
    open_quote: str = "",
    escapes: bool = False,
    unclosed_quotes_open_strings: bool = True,
) -> Iterator[Token]:
    """Yield the brackets of a text that are outside of strings, and unmatched quotes.

    - `quotes`: characters that delimit strings. Without any, brackets in strings count.
    - `comments`: whether the rest of a line after `#` or `//` is skipped.
    - `open_quote`: quote of the string in which the text begins, or empty.
    - `escapes`: whether a backslash outside of strings escapes the next character, as in a shell.
    - `unclosed_quotes_open_strings`: whether a quote that is not closed on its line opens a string
      that fills the line. Otherwise it is plain text, such as the apostrophe in "don't".
    """
    position = 0
    if open_quote:
        end = _string_end(text, 0, open_quote)
        position = _line_end(text, 0) if end is None else end
        if end is not None:
            yield Token(Kind.FINAL_QUOTE, open_quote, end - 1)
    while position < len(text):
        character = text[position]
        following = position + 1
        if character in OPENERS:
            yield Token(Kind.OPENER, character, position)
        elif character in CLOSERS:
            yield Token(Kind.CLOSER, character, position)
        elif character in quotes:
            end = _string_end(text, following, character)
            if end is not None:
                following = end
            elif unclosed_quotes_open_strings:
                yield Token(Kind.UNCLOSED_QUOTE, character, position)
                following = _line_end(text, position)
        elif escapes and character == "\\":
            following += 1
        elif comments and (character == "#" or text.startswith("//", position)):
            following = _line_end(text, position)
        position = following


def unclosed_quote(text: str, *, quotes: str = QUOTES, escapes: bool = False) -> int | None:
    """Return the offset at which a string begins that does not end on its line, or None.

    The arguments are those of `scan`.
    """
    tokens = scan(text, quotes=quotes, escapes=escapes)
    return next((token.offset for token in tokens if token.kind is Kind.UNCLOSED_QUOTE), None)


def closes_more_than_it_opens(text: str) -> bool:
    """Return whether a closing bracket has no opening bracket before it; brackets in strings count.

    Kinds of brackets are not distinguished.
    """
    depth = 0
    for token in scan(text, quotes=""):
        depth += 1 if token.kind is Kind.OPENER else -1
        if depth < 0:
            return True
    return False


def _string_end(text: str, start: int, quote: str) -> int | None:
    """Return the offset after the quote that ends a string on this line, or None."""
    match = _STRING_REST[quote].match(text, start)
    return None if match is None else match.end()


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
