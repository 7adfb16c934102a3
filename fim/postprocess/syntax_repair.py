"""No suggestion that breaks a file which parsed: cut back to what fits, or dropped.

Only lines near the cursor are parsed, so that the cost does not grow with the file.
"""

from __future__ import annotations

import re

from fim.snapshot import Snapshot
from syntax.grammars import count_errors, parser

WINDOW_LINES, MOST_LINES = 40, 300
"""Lines parsed on either side of the cursor, at least and at most."""

_MARGIN = re.compile(r"(?!(?:else|elif|except|finally|catch)\b)[A-Za-z_@#]")
_DEFINITION = re.compile(r"( +)(?:def\b|class\b|async def\b|@)")


def cut_to_valid_syntax(text: str, replaced: int, snapshot: Snapshot) -> str:
    """Return the longest beginning of a suggestion that breaks nothing; empty if every one does.

    `replaced` characters right of the cursor give way to the suggestion. Where what is around it
    parsed, it must parse with it. Where it did not, as in a line half typed, only a bracket too
    many is cut off, if that mends something.
    """
    language = snapshot.language_id
    if parser(language) is None:
        return text
    above, below = _window(snapshot, replaced)
    # First what it mostly comes to: each look is a parse, and somebody waits.
    whole = count_errors(above + text + below, language) or 0
    if whole == 0:
        return text
    before = count_errors(above + snapshot.after[:replaced] + below, language) or 0
    if before and not closes_more_than_it_opens(text):
        return text
    limit = whole - 1 if before else 0
    fitting = (
        end
        for end in _ends(text)
        if (count_errors(above + text[:end] + below, language) or 0) <= limit
    )
    return text[: next(fitting, len(text) if before else 0)]


def closes_more_than_it_opens(text: str) -> bool:
    """Whether a closing bracket of a text has no opening one in it."""
    depth = 0
    for character in text:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return True
    return False


def lines_above(snapshot: Snapshot) -> str:
    """Return the text before the cursor, as much of it as is parsed.

    It begins with a statement at the margin, if that is not too far, or else in Python with a
    definition: cut anywhere, most windows of files that parse do not.
    """
    text = snapshot.text
    starts: list[int] = []
    at = snapshot.cursor
    while len(starts) < MOST_LINES and at >= 0:
        at = text.rfind("\n", 0, at)
        starts.append(at + 1)
        if len(starts) > WINDOW_LINES and _MARGIN.match(text, at + 1):
            return text[at + 1 : snapshot.cursor]
    if at >= 0 and snapshot.language_id == "python":
        blocks, start = _definition_above(text, starts)
        return blocks + text[start : snapshot.cursor]
    return text[starts[-1] : snapshot.cursor]


def _window(snapshot: Snapshot, replaced: int) -> tuple[str, str]:
    """Return the text on either side that is parsed; below it ends as above it begins."""
    at = snapshot.cursor + replaced
    end = _end_below(snapshot.text, at, python=snapshot.language_id == "python")
    return lines_above(snapshot), snapshot.text[at:end]


def _definition_above(text: str, starts: list[int]) -> tuple[str, int]:
    """Return where the outermost definition begins, and blocks in which it may stand so.

    `starts` are those of lines, from the cursor's up.
    """
    indents = {at: len(found[1]) for at in starts if (found := _DEFINITION.match(text, at))}
    if not indents:
        return "", starts[-1]
    least = min(indents.values())
    outer = [at for at, indent in indents.items() if indent == least]
    start = next((at for at in outer if at <= starts[WINDOW_LINES]), outer[-1])
    return "".join(f"{' ' * column}if 1:\n" for column in range(0, least, 4)), start


def _end_below(text: str, at: int, *, python: bool) -> int:
    within = None
    for count in range(MOST_LINES):
        at = text.find("\n", at) + 1
        if at == 0:
            return len(text)
        if count >= WINDOW_LINES:
            if _MARGIN.match(text, at):
                return at
            if python and within is None and _DEFINITION.match(text, at):
                within = at
    return at if within is None else within


_MOST_ENDS = 24


def _ends(text: str) -> list[int]:
    """Return where a suggestion may be cut: after a line, or in its last one after a word."""
    last = text.rfind("\n") + 1
    line = text[last:]
    words = [
        last + at
        for at in range(len(line) - 1, 0, -1)
        if not (line[at - 1].isalnum() and line[at].isalnum()) and not line[at - 1].isspace()
    ]
    lines = [at for at in range(len(text) - 1, 0, -1) if text[at] == "\n"]
    return [*words[:_MOST_ENDS], *lines][: 2 * _MOST_ENDS]
