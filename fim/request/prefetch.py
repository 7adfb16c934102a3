"""The place that is prefetched: the next line after a suggestion is accepted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fim.postprocess.truncate import opens_block
from fim.snapshot import MAX_LINE_CHARACTERS, Snapshot, Suggestion

_MAX_LINES = 400
"""Maximum number of lines from which the indentation of a file is derived."""


def snapshot_after_accept(snapshot: Snapshot, suggestion: Suggestion) -> Snapshot | None:
    """Return the document after the suggestion is accepted and a new line is started.

    The new line is indented as editors do it: like the line before, and deeper if that line opens a
    block. The result is None if there is text right of the cursor, or if the line is very long.
    """
    text = suggestion.applied_to(snapshot.text)
    cursor = suggestion.replace_start + len(suggestion.text)
    accepted = replace(snapshot, text=text, cursor=cursor)
    line = accepted.line_before
    if accepted.line_after.strip() or len(line) == MAX_LINE_CHARACTERS:
        return None
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if opens_block(line, snapshot.language_id):
        indent += indent_unit(text)
    inserted = snapshot.line_ending + indent
    return replace(
        accepted,
        text=text[:cursor] + inserted + text[cursor:],
        cursor=cursor + len(inserted),
    )


def indent_unit(text: str) -> str:
    """Return one level of a file's indentation: a tab, or the most frequent number of spaces."""
    steps: Counter[int] = Counter()
    previous = 0
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        if line.startswith("\t"):
            return "\t"
        if line.strip():
            width = len(line) - len(line.lstrip(" "))
            if width > previous:
                steps[width - previous] += 1
            previous = width
    return " " * (steps.most_common(1)[0][0] if steps else 4)
