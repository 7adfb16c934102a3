"""Where the cursor will be once a suggestion is accepted and the next line begun."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fim.postprocess.truncate import opens_block
from fim.snapshot import Snapshot, Suggestion

_LOOKED_AT = 400
"""Lines that tell how a file is indented."""


def snapshot_after_accept(snapshot: Snapshot, one: Suggestion) -> Snapshot | None:
    """Return the document with a suggestion accepted and a new line begun behind it.

    The new line is indented as editors do it: like the one before, and deeper where that opens a
    block. None where text is left on the line.
    """
    text = one.applied_to(snapshot.text)
    then = replace(snapshot, text=text, cursor=one.replace_start + len(one.text))
    if then.line_after.strip():
        return None
    line = then.line_before
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if opens_block(line, snapshot.language_id):
        indent += indent_unit(text)
    begun = snapshot.line_ending + indent
    return replace(
        then,
        text=text[: then.cursor] + begun + text[then.cursor :],
        cursor=then.cursor + len(begun),
    )


def indent_unit(text: str) -> str:
    """Return what a file indents by: a tab, or the step that most of its lines take."""
    steps: Counter[int] = Counter()
    before = 0
    for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT]:
        if line.startswith("\t"):
            return "\t"
        if line.strip():
            width = len(line) - len(line.lstrip(" "))
            if width > before:
                steps[width - before] += 1
            before = width
    return " " * (steps.most_common(1)[0][0] if steps else 4)
