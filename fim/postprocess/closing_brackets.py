"""Closing brackets that both a suggestion and the text right of the cursor contain.

Editors insert a closing bracket as soon as the opening one is typed, so the rest of the line is
often `)` or `"]`. The model writes the closing bracket too and goes on: after `f(` it writes
`a, b):`, which does not end with the rest of the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fim.postprocess.bracket_scanner import OPENER_OF, QUOTES, Kind, Token, scan
from fim.snapshot import Snapshot

_CLOSING = re.compile(r"[)\]}\"'`](?:[ \t]*[)\]}\"'`])*")
_MAX_LINES = 40
"""Maximum number of lines above and below the cursor that are scanned, up to an empty line."""


def doubled_closing(text: str, snapshot: Snapshot) -> int:
    """Return how many characters right of the cursor the suggestion `text` must replace.

    These are closing brackets and quotes that would be superfluous after the suggestion, and the
    text after them if the suggestion continues with the same text.
    """
    rest = snapshot.line_after
    closing = _CLOSING.match(rest)
    if closing is None:
        return 0
    marks = [
        (index, character) for index, character in enumerate(closing[0]) if not character.isspace()
    ]
    opened = _open_at_cursor(snapshot)
    closed_by_text = _closed_by(text, opened)
    left_open = max(0, len(opened) - len(closed_by_text))
    superfluous = len(_closed_by(_statement(snapshot.near_after), opened)) - left_open
    count = min(superfluous, len(closed_by_text), len(marks))
    if count <= 0 or not all(
        token.character == character
        for token, (_, character) in zip(closed_by_text[:count], marks, strict=False)
    ):
        return 0
    size = marks[count - 1][0] + 1
    remainder = rest[size:].rstrip()
    if remainder and text[closed_by_text[count - 1].offset + 1 :].startswith(remainder):
        size += len(remainder)
    return size if _contains_in_order(text, rest[:size]) else 0


def _contains_in_order(text: str, replaced: str) -> bool:
    """Return whether `text` contains all characters of `replaced` in order.

    Editors do not show a suggestion as ghost text otherwise.
    """
    remaining = iter(text)
    return all(character in remaining for character in replaced)


def _open_at_cursor(snapshot: Snapshot) -> list[str]:
    """Return the brackets, and at the end the quote, that are open at the cursor."""
    above = snapshot.lines_before
    upwards = "\n".join(reversed(above.rsplit("\n", _MAX_LINES + 1)[-_MAX_LINES - 1 : -1]))
    lines_above = "\n".join(reversed(_statement("\n" + upwards).split("\n")))
    # An unclosed quote above is an apostrophe or belongs to a string of several lines. In the
    # cursor's line, it opens the string in which the cursor is.
    tokens_above = scan(
        lines_above, quotes="\"'", comments=True, unclosed_quotes_open_strings=False
    )
    tokens = scan(snapshot.line_before, comments=True)
    return _open_after(tokens_above) + _open_after(tokens)


def _statement(text: str) -> str:
    """Return the lines of a text up to an empty one; few statements contain an empty line."""
    first, *lines = text.split("\n", _MAX_LINES)[:_MAX_LINES]
    end = next((index for index, line in enumerate(lines) if not line.strip()), len(lines))
    return "\n".join([first, *lines[:end]])


def _open_after(tokens: Iterable[Token]) -> list[str]:
    opened: list[str] = []
    for token in tokens:
        if token.kind is not Kind.CLOSER:
            opened.append(token.character)
        elif opened and opened[-1] == OPENER_OF[token.character]:
            opened.pop()
    return opened


def _closed_by(text: str, opened: list[str]) -> list[Token]:
    """Return the brackets and the quote in `text` that close something opened before it."""
    open_quote = opened[-1] if opened and opened[-1] in QUOTES else ""
    closing: list[Token] = []
    opened_inside: list[str] = []
    for token in scan(text, open_quote=open_quote):
        if token.kind is Kind.FINAL_QUOTE:
            closing.append(token)
        elif token.kind is Kind.OPENER:
            opened_inside.append(token.character)
        elif token.kind is Kind.CLOSER:
            if opened_inside and opened_inside[-1] == OPENER_OF[token.character]:
                opened_inside.pop()
            else:
                closing.append(token)
    return closing
