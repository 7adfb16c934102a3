"""The grids of 4-bit weights in GGUF files, which the engine's 4 bits keep as they are."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

from engine.loading.gguf_names import NamedTensor
from engine.loading.gguf_tensors import stored_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.network.quantise import Grids

    Blocks = NDArray[np.uint8]
    """Blocks of a format (blocks, bytes)."""
    Groups = tuple[NDArray[np.float32], NDArray[np.float32]]
    """Scales and minima (blocks, groups of a block)."""

_NUM_VALUES = 16


def read_grids(tensor: NamedTensor) -> Grids | None:
    """Return the grids of a matrix in 4 bits, None for a tensor in another format."""
    import torch

    from engine.network.quantise import Grids

    groups_of = _GROUPS_OF.get(tensor.stored.kind.name)
    if groups_of is None:
        return None
    blocks = stored_rows(tensor).reshape(-1, tensor.stored.kind.size)
    num_rows = prod(tensor.stored.shape[:-1])
    scales, minima = (torch.from_numpy(part.reshape(num_rows, -1)) for part in groups_of(blocks))
    # A grid with a negative scale has the same values from its other end.
    minima = torch.where(scales < 0, minima + (_NUM_VALUES - 1) * scales, minima)
    return Grids(scales.abs(), minima)


def is_4_bit(kind: str) -> bool:
    """Whether `read_grids` can read tensors in a format."""
    return kind in _GROUPS_OF


def _halves(blocks: Blocks, first: int, count: int) -> NDArray[np.float32]:
    """Return `count` numbers of float16 (blocks, count) from the byte `first` on."""
    return blocks[:, first : first + 2 * count].copy().view("<f2").astype("<f4")


def _q4_0(blocks: Blocks) -> Groups:
    scales = _halves(blocks, 0, 1)
    return scales, -8 * scales


def _q4_1(blocks: Blocks) -> Groups:
    return _halves(blocks, 0, 1), _halves(blocks, 2, 1)


def _q4_k(blocks: Blocks) -> Groups:
    """Return the grids of blocks of eight groups, with factors in 6 bits.

    Four groups have 6 bits in a byte. The other four have 4 bits in further bytes, and their upper
    2 bits are those that the first four bytes leave (`get_scale_min_k4` in ggml-quants.c).
    """
    import numpy as np

    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], 1)
    minima = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], 1)
    return _halves(blocks, 0, 1) * scales, -_halves(blocks, 2, 1) * minima


_GROUPS_OF: dict[str, Callable[[Blocks], Groups]] = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q4_K": _q4_k}
"""By the name of a format: a function that returns the grids of its blocks."""
