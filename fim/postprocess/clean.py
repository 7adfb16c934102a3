"""Turns truncated output into text that fits the document, with the document's line endings."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from fim.postprocess.bracket_scanner import OPENER_OF, QUOTES, scan
from fim.postprocess.closing_brackets import doubled_closing
from fim.postprocess.repetition import without_repetition
from fim.postprocess.syntax_repair import cut_to_valid_syntax
from fim.secrets import PLACEHOLDERS, adds_secret
from fim.snapshot import Snapshot

_LINE_END = re.compile(r"[\r\n]")

_MAX_REPAIRS = 4
"""Maximum number of cuts. A shorter suggestion may replace less, and so break the syntax again."""

_MIN_ECHO_CHARACTERS = 3
"""Minimum characters of a line that counts as an echo; code often repeats lines such as `}`."""


@dataclass(frozen=True, slots=True)
class CleanedText:
    """Text to insert at the cursor."""

    text: str
    replaced: int
    """Number of characters right of the cursor that the text replaces."""
    skipped: int = 0
    """Number of characters that were removed at the beginning of the output."""


def clean(output: str, snapshot: Snapshot) -> CleanedText | None:
    """Return the text to suggest for truncated output, or None if there is nothing to suggest."""
    text = output
    if snapshot.line_before.strip() and snapshot.line_before[-1].isspace():
        text = text.lstrip(" \t")  # a second space after `x = ` is never intended
    skipped = len(output) - len(text)
    text = without_repetition(without_echo(text, snapshot), snapshot.line_before)
    text = without_forbidden(text, snapshot).rstrip()
    if not text.strip():
        return None
    text, replaced = repair(text, snapshot)
    if not text.strip():
        return None
    if replaced == len(text) and not snapshot.line_after[replaced:].strip():
        return None  # the document contains all of it already
    return CleanedText(text.replace("\n", snapshot.line_ending), replaced, skipped)


def repair(text: str, snapshot: Snapshot) -> tuple[str, int]:
    """Shorten a suggestion until it breaks nothing.

    Return it with the number of characters right of the cursor that it replaces.
    """
    for _ in range(_MAX_REPAIRS):
        replaced = max(overlap(text, snapshot.line_after), doubled_closing(text, snapshot))
        shorter = cut_to_valid_syntax(text, replaced, snapshot).rstrip()
        if shorter == text:
            return text, replaced
        text = shorter
    return "", 0


def overlap(text: str, rest: str) -> int:
    """Return how many characters at the start of `rest` are also the end of `text`.

    `rest` is the line right of the cursor. These characters are replaced, so that they do not
    appear twice. Brackets and quotes only count if `text` does not open them itself: in `f(a|)`,
    the suggestion `.b()` ends with a bracket of its own.
    """
    for size in range(min(len(text), len(rest)), 0, -1):
        shared = rest[:size]
        if text.endswith(shared) and shared.strip() and _may_replace(text[:-size], shared, rest):
            return size
    return 0


def _may_replace(remaining: str, shared: str, rest: str) -> bool:
    """Return whether `shared` may replace the start of `rest`; `remaining` is the text before."""
    if any(remaining.count(quote) % 2 for quote in QUOTES if quote in shared):
        return False
    counts = Counter(token.character for token in scan(remaining, quotes=""))
    for closer, opener in OPENER_OF.items():
        if closer in shared and counts[opener] > counts[closer]:
            return False
    # Words are shared as a whole or not at all.
    splits_right = shared[-1].isalnum() and rest[len(shared) : len(shared) + 1].isalnum()
    splits_left = shared[0].isalnum() and remaining[-1:].isalnum()
    return not (splits_right or splits_left)


def without_forbidden(text: str, snapshot: Snapshot) -> str:
    """Return the text up to the first line with a secret or with a placeholder.

    Placeholders are allowed if the document contains them. A secret may begin left of the cursor.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        placeholders = (placeholder for placeholder in PLACEHOLDERS if placeholder in line)
        is_new = any(placeholder not in snapshot.text for placeholder in placeholders)
        typed = "" if index else snapshot.line_before
        if is_new or adds_secret(line, typed):
            return "\n".join(lines[:index])
    return text


def without_echo(text: str, snapshot: Snapshot) -> str:
    """Return the text up to the first line that repeats the line above or below the cursor."""
    above = snapshot.lines_before.rstrip()
    previous = above[max(above.rfind("\n"), above.rfind("\r")) + 1 :].strip()
    lines = text.split("\n")
    first = (snapshot.line_before + lines[0]).strip()
    if first == previous and len(previous) >= _MIN_ECHO_CHARACTERS:
        return ""
    below = snapshot.near_after[len(snapshot.line_after) :]
    following = _LINE_END.split(below.lstrip(), maxsplit=1)[0].strip()
    if len(following) < _MIN_ECHO_CHARACTERS:
        return text
    if first == following:
        return ""
    for index, line in enumerate(lines[1:], start=1):
        if line.strip() == following:
            return "\n".join(lines[:index])
    return text
