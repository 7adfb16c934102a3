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

_MAX_OPEN_ROWS = 64


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


def pack(encoded: Iterable[Sequence[int]], length: int) -> Iterator[npt.NDArray[np.uint16]]:
    """Pack whole pieces into rows of `length` tokens, each into the fullest open row that it fits.

    Pieces that are longer than a row are dropped: their hole would lose its middle.
    """
    open_rows: list[list[int]] = []
    for ids in encoded:
        if len(ids) > length:
            continue
        fitting = [row for row in open_rows if len(row) + len(ids) <= length]
        if fitting:
            max(fitting, key=len).extend(ids)
            continue
        if len(open_rows) == _MAX_OPEN_ROWS:
            fullest = max(range(len(open_rows)), key=lambda i: len(open_rows[i]))
            yield _pad(open_rows.pop(fullest), length)
        open_rows.append(list(ids))
    yield from (_pad(row, length) for row in open_rows)


def _pad(ids: Sequence[int], length: int) -> npt.NDArray[np.uint16]:
    row = np.full(length, PAD, dtype=np.uint16)
    row[: len(ids)] = ids
    return row
