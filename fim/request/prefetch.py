"""The place that is prefetched: the next line after a suggestion is accepted."""

from __future__ import annotations

from dataclasses import replace

from fim.postprocess.indentation import indent_of, indent_unit
from fim.postprocess.truncate import opens_block
from fim.snapshot import MAX_LINE_CHARACTERS, Snapshot, Suggestion


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
    indent = indent_of(line)
    if opens_block(line, snapshot.language_id):
        indent += indent_unit(text)
    inserted = snapshot.line_ending + indent
    return replace(
        accepted,
        passages=(),  # they are for the old cursor
        text=text[:cursor] + inserted + text[cursor:],
        cursor=cursor + len(inserted),
    )
