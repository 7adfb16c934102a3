"""Shortens suggestions that would break the syntax of a file.

Only the lines near the cursor are parsed, so the cost does not grow with the file.
"""

from __future__ import annotations

import re

from fim.postprocess.bracket_scanner import closes_more_than_it_opens
from fim.snapshot import MAX_NEAR_CHARACTERS, Snapshot
from syntax.grammars import count_errors, parser

MIN_LINES, MAX_LINES = 40, 300
"""Number of lines that are parsed above the cursor, and below it."""

_MAX_PARSED_CHARACTERS = 1_000_000
"""Maximum characters of all trial parses of one suggestion."""

_MAX_SEARCHED_CHARACTERS = 50_000
"""Maximum characters above the cursor in which the beginning of the part is searched."""

_STATEMENT_AT_MARGIN = re.compile(r"(?!(?:else|elif|except|finally|catch)\b)[A-Za-z_@#]")
_INDENTED_DEFINITION = re.compile(r"( +)(?:def\b|class\b|async def\b|@)")

_MAX_CUTS = 24
"""Maximum number of places in the last line at which a suggestion is cut for a trial parse."""


def cut_to_valid_syntax(text: str, replaced: int, snapshot: Snapshot) -> str:
    """Return the longest beginning of a suggestion that does not break the syntax.

    `replaced` is the number of characters right of the cursor that the suggestion replaces.

    - If the lines around the cursor parse, they must also parse with the suggestion. The result is
      empty if no beginning of it satisfies this.
    - If they do not parse, as with an incomplete line, a suggestion that closes too many brackets
      is cut where that reduces the number of errors. Of other suggestions, lines at the end are
      left out if all parses without them: they are mostly a statement that has no end.
    """
    language = snapshot.language_id
    if parser(language) is None:
        return text
    above, below = _lines_around(snapshot, replaced)
    # The most frequent case comes first, because every check is a parse and the user waits.
    errors_with_text = count_errors(above + text + below, language) or 0
    if errors_with_text == 0:
        return text
    errors_before = count_errors(above + snapshot.after[:replaced] + below, language) or 0
    cuts, max_errors = _cuts(text), 0
    if errors_before and closes_more_than_it_opens(text):
        max_errors = errors_with_text - 1
    elif errors_before:
        cuts = _line_ends(text)
    max_cuts = _MAX_PARSED_CHARACTERS // (len(above) + len(text) + len(below))
    valid_cuts = (
        cut
        for cut in cuts[:max_cuts]
        if (count_errors(above + text[:cut] + below, language) or 0) <= max_errors
    )
    return text[: next(valid_cuts, len(text) if errors_before else 0)]


def lines_above(snapshot: Snapshot) -> str:
    """Return the part of the text before the cursor that is parsed.

    It begins with a statement at the left margin if one is near enough, otherwise in Python with a
    definition. A part that began anywhere else would rarely parse. Of very long lines, it is the
    end.
    """
    above = _lines_above(snapshot)
    if len(above) <= MAX_NEAR_CHARACTERS:
        return above
    above = above[-MAX_NEAR_CHARACTERS:]
    return above[above.find("\n") + 1 :]


def _lines_above(snapshot: Snapshot) -> str:
    """Return the lines of `lines_above`, however long they are."""
    text = snapshot.text
    starts: list[int] = []
    end = snapshot.cursor
    first = max(0, snapshot.cursor - _MAX_SEARCHED_CHARACTERS)
    while len(starts) < MAX_LINES and end >= first:
        end = max(text.rfind("\n", first, end), first - 1)
        starts.append(end + 1)
        if len(starts) > MIN_LINES and _STATEMENT_AT_MARGIN.match(text, end + 1):
            return text[end + 1 : snapshot.cursor]
    if end >= first and snapshot.language_id == "python":
        enclosing, start = _definition_above(text, starts)
        return enclosing + text[start : snapshot.cursor]
    return text[starts[-1] : snapshot.cursor]


def _lines_around(snapshot: Snapshot, replaced: int) -> tuple[str, str]:
    """Return the parts of the text above and below that are parsed.

    The part below ends before a line at which the part above could begin.
    """
    start = snapshot.cursor + replaced
    end = _end_below(snapshot.text, start, is_python=snapshot.language_id == "python")
    below = snapshot.text[start : min(end, start + MAX_NEAR_CHARACTERS)]
    is_cut = len(below) < end - start
    return lines_above(snapshot), below[: below.rfind("\n") + 1] or below if is_cut else below


def _definition_above(text: str, starts: list[int]) -> tuple[str, int]:
    """Return the start of the outermost indented definition, and blocks that may enclose it.

    `starts` are the offsets of the lines from the cursor upwards. The blocks make the indentation
    of the definition valid.
    """
    indents = {
        start: len(match[1])
        for start in starts
        if (match := _INDENTED_DEFINITION.match(text, start))
    }
    if not indents:
        return "", starts[-1]
    min_indent = min(indents.values())
    outermost = [start for start, indent in indents.items() if indent == min_indent]
    start = next((start for start in outermost if start <= starts[MIN_LINES]), outermost[-1])
    blocks = (f"{' ' * column}if 1:\n" for column in range(0, min_indent, 4))
    return "".join(blocks), start


def _end_below(text: str, start: int, *, is_python: bool) -> int:
    """Return the offset at which the part below `start` ends."""
    definition = None
    line = start
    last = min(len(text), start + _MAX_SEARCHED_CHARACTERS)
    for count in range(MAX_LINES):
        line = text.find("\n", line, last) + 1
        if line == 0:
            return last
        if count >= MIN_LINES:
            if _STATEMENT_AT_MARGIN.match(text, line):
                return line
            if is_python and definition is None and _INDENTED_DEFINITION.match(text, line):
                definition = line
    return line if definition is None else definition


def _cuts(text: str) -> list[int]:
    """Return the offsets at which a suggestion may be cut, the last one first.

    It may be cut after each word of its last line, and at the end of each line.
    """
    last_line = text.rfind("\n") + 1
    line = text[last_line:]
    words = [
        last_line + index
        for index in range(len(line) - 1, 0, -1)
        if not (line[index - 1].isalnum() and line[index].isalnum())
        and not line[index - 1].isspace()
    ]
    return [*words[:_MAX_CUTS], *_line_ends(text)][: 2 * _MAX_CUTS]


def _line_ends(text: str) -> list[int]:
    """Return the offsets of the line feeds in a suggestion, the last one first."""
    return [index for index in range(len(text) - 1, 0, -1) if text[index] == "\n"]
