"""Detection of repetition, into which small models fall when they do not know how to go on."""

from __future__ import annotations

import re

_UNIT = re.compile(r"(?P<unit>.{3,40}?)(?P=unit){3,}")
"""Pattern for the same 3 to 40 characters four times in a row within a line."""

_COMMENTS = ("#", "//", "/*", "*", "--", ";", "%", "=", "-", "~", "<!--")
"""Beginnings of lines that may be rulers, such as `# -----`."""

_MIN_CHARACTERS = 4
"""Minimum characters of a line that may not repeat; code often repeats lines such as `}`."""


def without_repetition(text: str, line_before: str = "") -> str:
    """Return the text up to the first line that repeats itself or the lines before it.

    - A line repeats itself if it contains the same characters four times in a row. Rulers in
      comments, such as `# -----`, are allowed.
    - One line or a pair of lines may not directly follow itself.

    `line_before` is the text between the beginning of the line and `text`.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        whole_line = line if index else line_before + line
        if _repeats_itself(line, whole_line) or _repeats_previous(lines, index):
            return "\n".join(lines[:index])
    return text


def _repeats_itself(line: str, whole_line: str) -> bool:
    match = _UNIT.search(line)
    if match is None or not match["unit"].strip():
        return False
    is_ruler = len(set(match["unit"])) == 1
    return not (is_ruler and whole_line.lstrip().startswith(_COMMENTS))


def _repeats_previous(lines: list[str], index: int) -> bool:
    line = lines[index].strip()
    if len(line) < _MIN_CHARACTERS:
        return False
    if index >= 1 and lines[index - 1].strip() == line:
        return True
    last_four = [other.strip() for other in lines[index - 3 : index + 1]]
    return index >= 3 and last_four[:2] == last_four[2:]
