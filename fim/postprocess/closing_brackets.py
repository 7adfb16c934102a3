"""What a suggestion closes that the text right of the cursor closes too.

An editor closes a bracket as soon as it is opened, so the rest of the line is often `)` or `"]`. A
model closes it itself, and goes on: behind `f(` it writes `a, b):`, which ends with none of it.
"""

from __future__ import annotations

import re

from fim.snapshot import Snapshot

_OPENERS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"
_CLOSING = re.compile(r"[)\]}\"'`](?:[ \t]*[)\]}\"'`])*")
_STRING_OR_COMMENT = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|(?:#|//).*")
_LINES = 40
"""Above and below the cursor that are looked at, but not behind an empty one."""


def doubled_closing(text: str, snapshot: Snapshot) -> int:
    """Return how many characters right of the cursor a suggestion must take the place of.

    They are the closing brackets and quotes that would be too many with those of the suggestion,
    and what stands behind them if the suggestion goes on so.
    """
    rest = snapshot.line_after
    closing = _CLOSING.match(rest)
    if closing is None:
        return 0
    marks = [(at, one) for at, one in enumerate(closing[0]) if not one.isspace()]
    opened = _opened_before(snapshot)
    own = _closed_by(text, opened)
    left_open = max(0, len(opened) - len(own))
    too_many = len(_closed_by(_statement(snapshot.after), opened)) - left_open
    count = min(too_many, len(own), len(marks))
    if count <= 0 or [one for _, one in marks[:count]] != [one for _, one in own[:count]]:
        return 0
    size = marks[count - 1][0] + 1
    behind = rest[size:].rstrip()
    if behind and text[own[count - 1][0] + 1 :].startswith(behind):
        size += len(behind)
    return size if _holds(text, rest[:size]) else 0


def _holds(text: str, replaced: str) -> bool:
    """Whether all that is replaced is in a text again, in order: an editor shows nothing else."""
    written = iter(text)
    return all(character in written for character in replaced)


def _opened_before(snapshot: Snapshot) -> list[str]:
    """Return brackets and a quote that are open at the cursor, the innermost last."""
    line = _STRING_OR_COMMENT.sub("", snapshot.line_before)
    above = snapshot.before[: len(snapshot.before) - len(snapshot.line_before)]
    upwards = "\n".join(reversed(above.split("\n")[-_LINES - 1 : -1]))
    lines = reversed(_statement("\n" + upwards).split("\n"))
    return _brackets("\n".join(_STRING_OR_COMMENT.sub("", one) for one in lines)) + _brackets(line)


def _statement(text: str) -> str:
    """Return the lines of a text up to an empty one: a statement rarely goes on behind that."""
    first, *lines = text.split("\n")[:_LINES]
    end = next((at for at, line in enumerate(lines) if not line.strip()), len(lines))
    return "\n".join([first, *lines[:end]])


def _brackets(text: str) -> list[str]:
    stack: list[str] = []
    for character in text:
        if character in _QUOTES and "\n" not in text:
            return [*stack, character]  # whole strings are gone: this one is open
        if character in "([{":
            stack.append(character)
        elif character in _OPENERS and stack and stack[-1] == _OPENERS[character]:
            stack.pop()
    return stack


def _closed_by(text: str, opened: list[str]) -> list[tuple[int, str]]:
    """Return where a suggestion closes what was open before it, and by which character."""
    quote = opened[-1] if opened and opened[-1] in _QUOTES else ""
    foreign: list[tuple[int, str]] = []
    own: list[str] = []
    outer = bool(quote)
    for at, character in enumerate(text):
        if character == "\n":
            quote, outer = "", False
        elif quote:
            if character == quote and text[at - 1 : at] != "\\":
                if outer:
                    foreign.append((at, character))
                quote, outer = "", False
        elif character in _QUOTES:
            quote = character
        elif character in "([{":
            own.append(character)
        elif character in _OPENERS:
            if own and own[-1] == _OPENERS[character]:
                own.pop()
            else:
                foreign.append((at, character))
    return foreign
