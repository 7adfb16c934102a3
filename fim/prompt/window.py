"""Which part of a document the model sees: what fits, nearest the cursor first.

A document is encoded in blocks of lines, counted from its top above the cursor, and from its end
below. From one key to the next only the cursor's block is another, so the others' ids are
remembered, and a line that is begun moves no block below. The window's start moves by whole blocks,
and its end gives way to the text above in large steps, so that most of the prompt, and with it the
KV cache, stays the same from line to line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

BLOCK_LINES = 32
"""Lines of a block."""

_CHARACTERS_PER_TOKEN = 5
"""More than code has on average: of longer text no more is even tokenized."""
_SUFFIX_SHARE = 4
"""A fourth of the room is the suffix's while both sides want more."""
_SUFFIX_STEPS = 8
"""A suffix that is cut gives way to a growing prefix an eighth of the room at a time. Where the
suffix stands first, all that follows is computed anew when it is cut elsewhere."""
_REMEMBERED = 2048
"""Blocks whose ids are kept: some ten megabytes."""

Encode = Callable[[str], Sequence[int]]


def cached_encoder(encode: Callable[[str], list[int]]) -> Encode:
    """Return an encoder that knows what it encoded lately; safe to call from any thread."""

    @lru_cache(_REMEMBERED)
    def encoded(text: str) -> tuple[int, ...]:
        return tuple(encode(text))

    return encoded


def fit(before: str, after: str, room: int, encode: Encode) -> tuple[list[int], list[int]]:
    """Return ids of the text around the cursor, together at most `room`.

    Room that one side leaves goes to the other. Line ends are given to the model as `\\n`.
    """
    if room <= 0:
        return [], []
    limit = room * _CHARACTERS_PER_TOKEN
    blocks = list(_blocks_after(after, limit))
    share = min(sum(map(len, _first(blocks, room, encode))), room // _SUFFIX_SHARE)
    prefix = _fit_before(before, before.count("\n"), room - share, limit, encode)
    return prefix, _fit_after(blocks, len(prefix), room, encode)


def _fit_before(before: str, line: int, room: int, limit: int, encode: Encode) -> list[int]:
    """Return whole blocks as far up as they fit; of a nearest one that does not, its end."""
    chosen: list[Sequence[int]] = []
    left = room
    for block in _blocks_before(before, line, limit):
        ids = encode(block)
        if len(ids) > left:
            if not chosen and left:
                chosen.append(ids[-left:])
            break
        chosen.append(ids)
        left -= len(ids)
    return [id_ for ids in reversed(chosen) for id_ in ids]


def _fit_after(blocks: Sequence[str], prefix: int, room: int, encode: Encode) -> list[int]:
    """Return all blocks if they fit; else as far down as they do, and of the next one its lines."""
    made: list[int] = []
    for block in blocks:
        made += encode(block)
        if len(made) > room - prefix:
            return _cut_after(blocks, _left_for_cut(prefix, room), encode)
    return made


def _left_for_cut(prefix: int, room: int) -> int:
    step = max(1, room // _SUFFIX_STEPS)
    return max(room // _SUFFIX_SHARE, room - -(-prefix // step) * step)


def _cut_after(blocks: Sequence[str], room: int, encode: Encode) -> list[int]:
    made: list[int] = []
    for block in blocks:
        ids = encode(block)
        if len(made) + len(ids) > room:
            made += _shortened(block, ids, room - len(made), encode)
            break
        made += ids
    return made


def _shortened(text: str, ids: Sequence[int], room: int, encode: Encode) -> Sequence[int]:
    while len(ids) > room:
        # Shorten to a line's end, by the measure of what was just counted.
        shorter = text[: len(text) * room // len(ids)]
        at_line = shorter.rfind("\n") + 1
        text = shorter[:at_line] if at_line else shorter[: max(0, len(shorter) - 1)]
        ids = encode(text)
    return ids


def _first(blocks: Sequence[str], room: int, encode: Encode) -> list[Sequence[int]]:
    """Return ids of blocks until they are more than the suffix's share of the room."""
    found: list[Sequence[int]] = []
    total = 0
    for block in blocks:
        found.append(encode(block))
        total += len(found[-1])
        if total >= room // _SUFFIX_SHARE:
            break
    return found


def _blocks_before(before: str, line: int, limit: int) -> Iterator[str]:
    """Yield blocks from the cursor up; the nearest ends at the cursor, in line number `line`."""
    end = len(before)
    # Line ends above the block's own: of the cursor's line, those of its block's lines before it.
    above = line % BLOCK_LINES
    while end > 0 and len(before) - end < limit:
        start = end
        for _ in range(above):
            start = before.rfind("\n", 0, start)
        start = before.rfind("\n", 0, start) + 1
        if start < end:
            yield unix_lines(before[max(start, end - limit) : end])
        end, above = start, BLOCK_LINES


def _blocks_after(after: str, limit: int) -> Iterator[str]:
    """Yield blocks from the cursor down; the nearest begins at the cursor."""
    start, lines = 0, after.count("\n") % BLOCK_LINES or BLOCK_LINES
    while start < min(len(after), limit):
        end = start
        for _ in range(lines):
            found = after.find("\n", end)
            if found < 0:
                end = len(after)
                break
            end = found + 1
        yield unix_lines(after[start : min(end, start + limit)])
        start, lines = end, BLOCK_LINES


def unix_lines(text: str) -> str:
    """Return a text with the line ends that models see."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
