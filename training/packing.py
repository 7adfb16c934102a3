"""Documents to sequences of equal length: cut on lines, transformed, packed whole.

A piece is never cut by packing: a hole whose answer lies in another sequence teaches nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

PAD = np.uint16(65535)
"""Fills the rest of a sequence; not an id, and never a label."""

Rows = npt.NDArray[np.uint16]
"""Sequences by length, ids below 65535."""

_OPEN_BINS = 64


Sizes = Literal["uniform", "log-uniform"]
"""How sizes are drawn: from a quarter of the limit on, or from a tenth and mostly small."""


def _size(limit: int, rng: random.Random, sizes: Sizes) -> int:
    if sizes == "uniform":
        return rng.randint(limit // 4, limit)
    return int(limit * 10 ** -rng.random())


def pieces(text: str, limit: int, rng: random.Random, sizes: Sizes = "uniform") -> Iterator[str]:
    """Cut a text on line ends into pieces of at most `limit` characters.

    Some are much shorter than the limit, as files are.
    """
    target = _size(limit, rng, sizes)
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        if piece and size + len(line) > target:
            yield "".join(piece)
            piece, size = [], 0
            target = _size(limit, rng, sizes)
        piece.append(line[:limit])
        size += len(line)
    if piece:
        yield "".join(piece)


def pack(encoded: Iterable[Sequence[int]], length: int) -> Iterator[npt.NDArray[np.uint16]]:
    """Put whole pieces into rows of `length`, each into the fullest open row it fits.

    Pieces longer than a row are dropped: their hole would lose its answer.
    """
    bins: list[list[int]] = []
    for ids in encoded:
        if len(ids) > length:
            continue
        fitting = [b for b in bins if len(b) + len(ids) <= length]
        if fitting:
            max(fitting, key=len).extend(ids)
            continue
        if len(bins) == _OPEN_BINS:
            fullest = max(range(len(bins)), key=lambda i: len(bins[i]))
            yield _row(bins.pop(fullest), length)
        bins.append(list(ids))
    yield from (_row(b, length) for b in bins)


def _row(ids: Sequence[int], length: int) -> npt.NDArray[np.uint16]:
    row = np.full(length, PAD, dtype=np.uint16)
    row[: len(ids)] = ids
    return row
