"""Which part of a document the model sees: what fits, nearest the cursor first.

The window's start moves in steps of whole blocks of lines, so that from one key to the next the
prompt's beginning, and with it the KV cache, stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

STEP_LINES = 32
"""The window's start is a multiple of this many lines from the top of the document."""

_CHARACTERS_PER_TOKEN = 5
"""More than code has on average: text beyond it is not even tokenized."""
_SUFFIX_SHARE = 4
"""A fourth of the room is the suffix's while both sides want more."""

Encode = Callable[[str], list[int]]


def fit(before: str, after: str, room: int, encode: Encode) -> tuple[list[int], list[int]]:
    """Return ids of the text around the cursor, together at most `room`.

    Room that one side leaves goes to the other. Line ends are given to the model as `\\n`.
    """
    near_after = _unix_lines(after[: room * _CHARACTERS_PER_TOKEN])
    wanted = len(encode(near_after[: room // _SUFFIX_SHARE * _CHARACTERS_PER_TOKEN]))
    prefix = _fit_before(before, room - min(wanted, room // _SUFFIX_SHARE), encode)
    return prefix, _fit_after(near_after, room - len(prefix), encode)


def _fit_before(before: str, room: int, encode: Encode) -> list[int]:
    if room <= 0:
        return []
    earliest = len(before) - room * _CHARACTERS_PER_TOKEN
    for start in _anchors(before, earliest):
        ids = encode(_unix_lines(before[start:]))
        if len(ids) <= room:
            return ids
    # Lines so long that not even one step of them fits: the nearest ids are what counts.
    return encode(_unix_lines(before[max(0, earliest) :]))[-room:]


def _anchors(before: str, earliest: int) -> Iterator[int]:
    """Yield the offsets at which the window may start, from `earliest` on, in order."""
    at, line = 0, 0
    while at >= 0:
        if line % STEP_LINES == 0 and at >= earliest:
            yield at
        found = before.find("\n", at)
        at = -1 if found < 0 else found + 1
        line += 1


def _fit_after(after: str, room: int, encode: Encode) -> list[int]:
    ids = encode(after) if room > 0 else []
    while len(ids) > room:
        # Shorten to a line's end, by the measure of what was just counted.
        shorter = after[: len(after) * room // len(ids)]
        at_line = shorter.rfind("\n") + 1
        after = shorter[:at_line] if at_line else shorter[: max(0, len(shorter) - 1)]
        ids = encode(after)
    return ids


def _unix_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
