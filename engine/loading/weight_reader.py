"""Reads the weights of a checkpoint to the device that computes with them.

Each tensor is copied once: into new memory, to the device, or into 8 or 4 bits. The system can back
new memory with huge pages. Decoding with memory-mapped weights is 1.45 times slower at 1B. At most
the tensors of one product are in memory twice at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.architecture import Architecture
from engine.network.backend import Backend
from engine.network.build_weights import ProductParts, build_weights
from engine.network.quantise import Bits, Grids
from engine.network.quantised import Quantised
from engine.network.weights import Dense, Table, Weights


class TensorFiles(Protocol):
    """The tensors of a checkpoint by their names in transformers."""

    def read(self, name: str) -> Tensor:
        """Return a tensor on the CPU. Raises KeyError if there is none of this name."""
        ...

    def read_grids(self, name: str) -> Grids | None:
        """Return the grids of a matrix in 4 bits, None for a tensor in another format."""
        ...

    @property
    def is_4_bit(self) -> bool:
        """Whether most matrices have grids. Then the author of the files gave others more bits."""
        ...


@dataclass(frozen=True, slots=True)
class WeightsTarget:
    """Where weights are read to, and in which number format."""

    dtype: torch.dtype
    """Type of the computation, and of the matrices unless `bits` is given."""
    device: str
    bits: Bits | None = None
    """Bits of most quantised matrices."""
    window: int | None = None
    """Number of positions that are used, None for all."""
    backend: Backend | None = None
    """The kernels with which quantised products compute."""


def read_weights(
    files: TensorFiles,
    architecture: Architecture,
    target: WeightsTarget,
    report: Callable[[float], None] = lambda _: None,
) -> Weights:
    """Return the weights of a dense decoder.

    `report` is called with the share that has been read, 0 to 1. Raises SafetensorError, OSError,
    ValueError or KeyError for damaged files, and RuntimeError or MemoryError if memory runs out.
    """
    num_products = 4 * architecture.num_layers
    num_made = 0

    def read(name: str) -> Tensor:
        return files.read(name).to(device=target.device, dtype=target.dtype, copy=True)

    def read_grids(name: str) -> Grids | None:
        grids = files.read_grids(name) if target.bits == 4 else None
        return None if grids is None else grids.to(target.device)

    def make(parts: ProductParts) -> Table:
        nonlocal num_made
        num_made += 1
        report(min(1.0, num_made / num_products))
        if target.bits is None:
            return Dense(parts.weight, parts.bias)
        bits = _bits_of(parts, target.bits, is_4_bit=files.is_4_bit)
        return Quantised(parts.weight, parts.bias, bits, target.backend, parts.grids)

    return build_weights(architecture, read, make, read_grids, target.window)


def _bits_of(parts: ProductParts, bits: Bits, *, is_4_bit: bool) -> Bits:
    """Return the bits of a product.

    With 4 bits, embeddings and the output matrix have 8, which halves the loss: their errors reach
    the logits directly. So do products that have more bits in files of 4 bits.
    """
    return 8 if parts.grids is None and (parts.is_table or is_4_bit) else bits
