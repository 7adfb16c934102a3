"""Turn documents into sequences of equal length: cut into pieces, then packed.

Packing never cuts a piece: a hole whose middle is in another sequence would teach nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

PAD = np.uint16(65535)
"""Value that fills the rest of a sequence; it is neither a token id nor a label."""

Rows = npt.NDArray[np.uint16]
"""Training sequences (count, length) of token ids below 65535, padded with `PAD`."""


SizeDistribution = Literal["uniform", "log-uniform"]
"""Distribution from which the sizes of pieces are drawn.

- `uniform`: from a quarter of the limit to the limit
- `log-uniform`: from a tenth of the limit to the limit, mostly small
"""


def _draw_size(limit: int, rng: random.Random, distribution: SizeDistribution) -> int:
    if distribution == "uniform":
        return rng.randint(limit // 4, limit)
    return int(limit * 10 ** -rng.random())


def cut_pieces(
    text: str, limit: int, rng: random.Random, distribution: SizeDistribution = "uniform"
) -> Iterator[str]:
    """Cut a text at line ends into pieces of at most `limit` characters.

    Some pieces are much shorter than the limit, as files are.
    """
    target = _draw_size(limit, rng, distribution)
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        if piece and size + len(line) > target:
            yield "".join(piece)
            piece, size = [], 0
            target = _draw_size(limit, rng, distribution)
        piece.append(line[:limit])
        size += len(line)
    if piece:
        yield "".join(piece)


def pack(
    encoded: Iterable[Sequence[int]], length: int, rng: random.Random
) -> list[npt.NDArray[np.uint16]]:
    """Pack whole pieces into rows of `length` tokens, see `distribute`; padded with `PAD`."""
    return [_join(pieces, length) for pieces in distribute(encoded, length, rng)]


def distribute(
    encoded: Iterable[Sequence[int]], length: int, rng: random.Random
) -> list[list[Sequence[int]]]:
    """Return the pieces of each row: the longest piece first, each into the fullest row.

    A row has at most `length` tokens. The pieces of a row, and the rows, are then shuffled. Pieces
    that are longer than a row are dropped: their hole would lose its middle.
    """
    rows: list[list[Sequence[int]]] = []
    by_room: list[list[int]] = [[] for _ in range(length + 1)]
    for ids in sorted(encoded, key=len, reverse=True):
        if not 0 < len(ids) <= length:
            continue
        room = next((n for n in range(len(ids), length) if by_room[n]), length)
        if room == length:
            rows.append([])
        row = by_room[room].pop() if room < length else len(rows) - 1
        rows[row].append(ids)
        by_room[room - len(ids)].append(row)
    for pieces in rows:
        rng.shuffle(pieces)
    rng.shuffle(rows)
    return rows


def _join(pieces: Sequence[Sequence[int]], length: int) -> npt.NDArray[np.uint16]:
    row = np.full(length, PAD, dtype=np.uint16)
    ids = [id_ for piece in pieces for id_ in piece]
    row[: len(ids)] = ids
    return row
