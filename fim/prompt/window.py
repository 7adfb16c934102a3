"""Selects the part of a document that fits into the prompt, nearest to the cursor first.

A document is encoded in blocks of lines. Above the cursor, blocks are counted from the top of the
document, below it from the end. From one key press to the next only the cursor's block changes, so
the ids of the other blocks are cached, and a new line above moves no block below. The start of the
window moves by whole blocks. Its end is cut in large steps when the text above grows. So most of
the prompt, and with it the KV cache, stays the same from line to line.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

BLOCK_LINES = 32

_CHARACTERS_PER_TOKEN = 5
"""Maximum mean characters per token of code. Text beyond this limit is not tokenized."""
_SUFFIX_DIVISOR = 4
"""Divisor that gives the share of the suffix if both sides are long: a fourth of the room."""
_SUFFIX_STEPS = 8
"""Number of steps in which a suffix is cut as the prefix grows: each is an eighth of the room.

With the suffix first, everything after it must be computed again when it is cut elsewhere.
"""
_NUM_CACHED_BLOCKS = 512
"""Maximum number of blocks whose ids are cached, which take about 1 MB."""

Encode = Callable[[str], Sequence[int]]


def cached_encoder(encode: Callable[[str], list[int]]) -> Encode:
    """Return an encoder that caches recent results; safe to call from any thread."""

    @lru_cache(_NUM_CACHED_BLOCKS)
    def encode_cached(text: str) -> array[int]:
        return array("i", encode(text))  # a tuple of numbers takes ten times as much

    return encode_cached


def fit(
    before: str, after: str, room: int, encode: Encode, encode_start: Encode | None = None
) -> tuple[list[int], list[int]]:
    """Return the ids of the text before and after the cursor, at most `room` in total.

    Room that one side does not need goes to the other. Line endings are encoded as `\\n`.
    `encode_start` encodes the first block; None if that needs no function of its own.
    """
    if room <= 0:
        return [], []
    max_characters = room * _CHARACTERS_PER_TOKEN
    blocks = list(_blocks_after(after, max_characters))
    share = min(_num_first_ids(blocks, room, encode), room // _SUFFIX_DIVISOR)
    starts = encode_start or encode
    prefix = _fit_before(before, room - share, max_characters, encode, starts)
    return prefix, _fit_after(blocks, len(prefix), room, encode)


def _fit_before(
    before: str, room: int, max_characters: int, encode: Encode, encode_start: Encode
) -> list[int]:
    """Return the ids of the last blocks that fit, or of the end of the last block."""
    chosen: list[Sequence[int]] = []
    first = ""
    remaining = room
    for block in _blocks_before(before, before.count("\n"), max_characters):
        ids = encode(block)
        if len(ids) > remaining:
            if not chosen and remaining:
                chosen.append(ids[-remaining:])
            break
        chosen.append(ids)
        first = block
        remaining -= len(ids)
    # For the model, a document begins where the window begins.
    if first and len(ids := encode_start(first)) <= remaining + len(chosen[-1]):
        chosen[-1] = ids
    return [token_id for ids in reversed(chosen) for token_id in ids]


def _fit_after(blocks: Sequence[str], num_prefix_ids: int, room: int, encode: Encode) -> list[int]:
    """Return the ids of all blocks if they fit, otherwise of the first lines that fit."""
    suffix: list[int] = []
    for block in blocks:
        suffix += encode(block)
        if len(suffix) > room - num_prefix_ids:
            return _cut_after(blocks, _room_for_cut_suffix(num_prefix_ids, room), encode)
    return suffix


def _room_for_cut_suffix(num_prefix_ids: int, room: int) -> int:
    step = max(1, room // _SUFFIX_STEPS)
    return max(room // _SUFFIX_DIVISOR, room - -(-num_prefix_ids // step) * step)


def _cut_after(blocks: Sequence[str], room: int, encode: Encode) -> list[int]:
    suffix: list[int] = []
    for block in blocks:
        ids = encode(block)
        if len(suffix) + len(ids) > room:
            suffix += _shortened(block, ids, room - len(suffix), encode)
            break
        suffix += ids
    return suffix


def _shortened(text: str, ids: Sequence[int], room: int, encode: Encode) -> Sequence[int]:
    """Return the ids of the first lines of a text that fit."""
    while len(ids) > room:
        # Estimate the length from the current ratio of characters to ids, then end at a line.
        shorter = text[: len(text) * room // len(ids)]
        line_start = shorter.rfind("\n") + 1
        text = shorter[:line_start] if line_start else shorter[: max(0, len(shorter) - 1)]
        ids = encode(text)
    return ids


def _num_first_ids(blocks: Sequence[str], room: int, encode: Encode) -> int:
    """Return the number of ids of the first blocks, up to the suffix's share of the room."""
    total = 0
    for block in blocks:
        total += len(encode(block))
        if total >= room // _SUFFIX_DIVISOR:
            break
    return total


def _blocks_before(before: str, line: int, max_characters: int) -> Iterator[str]:
    """Yield blocks from the cursor upwards; the first ends at the cursor, in line `line`."""
    end = len(before)
    # Number of line feeds within the cursor's block before the cursor.
    num_line_feeds = line % BLOCK_LINES
    while end > 0 and len(before) - end < max_characters:
        start = end
        for _ in range(num_line_feeds):
            start = before.rfind("\n", 0, start)
        start = before.rfind("\n", 0, start) + 1
        if start < end:
            yield unix_lines(before[max(start, end - max_characters) : end])
        end, num_line_feeds = start, BLOCK_LINES


def _blocks_after(after: str, max_characters: int) -> Iterator[str]:
    """Yield blocks from the cursor downwards; the first begins at the cursor."""
    start, num_lines = 0, after.count("\n") % BLOCK_LINES or BLOCK_LINES
    while start < min(len(after), max_characters):
        end = start
        for _ in range(num_lines):
            line_feed = after.find("\n", end)
            if line_feed < 0:
                end = len(after)
                break
            end = line_feed + 1
        yield unix_lines(after[start : min(end, start + max_characters)])
        start, num_lines = end, BLOCK_LINES


def unix_lines(text: str) -> str:
    """Return a text with `\\n` as its line ending, as models expect it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
