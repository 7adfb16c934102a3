"""The prompt: prefix, suffix and middle as ids, each special token exactly once."""

from __future__ import annotations

from dataclasses import dataclass

from engine.tokenizer import Tokenizer
from fim.families import FimFamily
from fim.snapshot import Snapshot
from fim.window import fit

_SPECIAL_IDS = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids to send, and how many of them are text on either side."""

    ids: tuple[int, ...]
    prefix_tokens: int
    suffix_tokens: int


def build(snapshot: Snapshot, family: FimFamily, tokenizer: Tokenizer, max_tokens: int) -> Prompt:
    """Return the PSM prompt at the cursor, at most `max_tokens` long.

    Both sides are encoded apart from each other and as plain text, as in training, so that text
    which spells a special token stays text.
    """
    room = max(0, max_tokens - _SPECIAL_IDS - len(family.start))
    prefix, suffix = fit(snapshot.before, snapshot.after, room, tokenizer.encode)
    ids = (*family.start, family.prefix, *prefix, family.suffix, *suffix, family.middle)
    return Prompt(ids, len(prefix), len(suffix))
