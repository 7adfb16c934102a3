"""What is shown of an answer: nothing doubled, empty or broken, line ends as in the document."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fim.postprocess.closing_brackets import doubled_closing
from fim.postprocess.repetition import without_repetition
from fim.postprocess.syntax_repair import cut_to_valid_syntax
from fim.secrets import PLACEHOLDERS, holds_secret
from fim.snapshot import Snapshot

_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"
_FULL_LINE = re.compile(r"[^\r\n]*[^\s][^\r\n]*")

_MOST_MENDS = 4
"""A shorter suggestion may replace less, and so be broken in another way."""

_SHORTEST_ECHO = 3
"""A line shorter than this, such as `}`, may well stand twice."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Text to insert, and how many characters right of the cursor it takes the place of."""

    text: str
    replaced: int
    skipped: int = 0
    """Characters of the answer that were left out at its beginning."""


def clean(text: str, snapshot: Snapshot) -> Cleaned | None:
    """Return what to show of a cut answer, None for nothing."""
    length = len(text)
    if snapshot.line_before.strip() and snapshot.line_before[-1].isspace():
        text = text.lstrip(" \t")  # a second space after `x = ` is never meant
    skipped = length - len(text)
    text = without_repetition(_without_echo(text, snapshot), snapshot.line_before)
    text = _without_forbidden(text, snapshot).rstrip()
    if not text.strip():
        return None
    text, replaced = repair(text, snapshot)
    if not text.strip():
        return None
    if replaced == len(text) and not snapshot.line_after[replaced:].strip():
        return None  # all of it stands there already
    return Cleaned(text.replace("\n", snapshot.line_ending), replaced, skipped)


def repair(text: str, snapshot: Snapshot) -> tuple[str, int]:
    """Return what of a suggestion breaks nothing, and how much right of it that replaces."""
    for _ in range(_MOST_MENDS):
        replaced = max(overlap(text, snapshot.line_after), doubled_closing(text, snapshot))
        shorter = cut_to_valid_syntax(text, replaced, snapshot).rstrip()
        if shorter == text:
            return text, replaced
        text = shorter
    return "", 0


def overlap(text: str, rest: str) -> int:
    """Return how many characters of `rest`, the line right of the cursor, `text` ends with.

    They are replaced rather than doubled. A bracket or quote counts only if it closes something
    outside of the text: in `f(a|)` the answer `.b()` ends with a bracket of its own.
    """
    for size in range(min(len(text), len(rest)), 0, -1):
        shared = rest[:size]
        if text.endswith(shared) and shared.strip() and _is_foreign(text[:-size], shared, rest):
            return size
    return 0


def _is_foreign(own: str, shared: str, rest: str) -> bool:
    if any(own.count(quote) % 2 for quote in _QUOTES if quote in shared):
        return False
    for closer, opener in _PAIRS.items():
        if closer in shared and own.count(opener) > own.count(closer):
            return False
    # A word is shared as a whole or not at all.
    splits_right = shared[-1].isalnum() and rest[len(shared) : len(shared) + 1].isalnum()
    splits_left = shared[0].isalnum() and own[-1:].isalnum()
    return not (splits_right or splits_left)


def _without_forbidden(text: str, snapshot: Snapshot) -> str:
    """Cut before a line with a placeholder that the document has not, or with a secret."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        strange = (mark for mark in PLACEHOLDERS if mark in line)
        if any(mark not in snapshot.text for mark in strange) or holds_secret(line):
            return "\n".join(lines[:index])
    return text


def _without_echo(text: str, snapshot: Snapshot) -> str:
    """Cut before a line that repeats the first below the cursor's, or the one above it."""
    above = snapshot.before[: len(snapshot.before) - len(snapshot.line_before)].rstrip()
    last = above[max(above.rfind("\n"), above.rfind("\r")) + 1 :].strip()
    begun = (snapshot.line_before + text.split("\n")[0]).strip()
    if begun == last and len(last) >= _SHORTEST_ECHO:
        return ""
    below = snapshot.after[len(snapshot.line_after) :]
    following = (_FULL_LINE.search(below) or [""])[0].strip()
    if len(following) < _SHORTEST_ECHO:
        return text
    lines = text.split("\n")
    first = (snapshot.line_before + lines[0]).strip()
    if first == following:
        return ""
    for index, line in enumerate(lines[1:], start=1):
        if line.strip() == following:
            return "\n".join(lines[:index])
    return text
