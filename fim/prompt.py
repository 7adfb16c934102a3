"""The prompt: prefix, suffix and middle as ids, each special token exactly once.

Two forms, both in PSM order. Anchored at the cursor, the prefix is all text before it, as in the
papers. Anchored at the line, the prefix ends where the cursor's line begins, and what is typed of
that line follows `<fim_middle>`, as if the model had begun the middle there (llama.vim asks so).
From key to key only the end of that prompt changes, so its KV cache stays good, and a line is
continued as text is, without looking back behind the suffix for where it broke off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.tokenizer import Tokenizer
from fim.families import FimFamily
from fim.snapshot import Snapshot
from fim.window import fit

_SPECIAL_IDS = 3

Anchor = Literal["line", "cursor"]
"""Where the middle begins."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids to send, and how many of them are text on either side."""

    ids: tuple[int, ...]
    prefix_tokens: int
    suffix_tokens: int


def build(
    snapshot: Snapshot,
    family: FimFamily,
    tokenizer: Tokenizer,
    max_tokens: int,
    anchor: Anchor = "line",
) -> Prompt:
    """Return the prompt at the cursor, at most `max_tokens` long.

    Both sides are encoded apart from each other and as plain text, as in training, so that text
    which spells a special token stays text.
    """
    room = max(0, max_tokens - _SPECIAL_IDS - len(family.start))
    typed = snapshot.line_before if anchor == "line" else ""
    # A line may be as long as a file: its end counts, and leaves room for what is around it.
    typed_ids = tokenizer.encode(typed[-2 * room :])[-(room // 2) :] if typed and room > 1 else []
    before = snapshot.text[: snapshot.cursor - len(typed)]
    prefix, suffix = fit(before, snapshot.after, room - len(typed_ids), tokenizer.encode)
    ids = (
        *family.start,
        *(family.prefix, *prefix),
        *(family.suffix, *suffix),
        *(family.middle, *typed_ids),
    )
    return Prompt(ids, len(prefix) + len(typed_ids), len(suffix))
