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
from engine.network.build_weights import build_weights
from engine.network.quantised import Bits, Quantised
from engine.network.weights import Dense, Table, Weights


class TensorFiles(Protocol):
    """The tensors of a checkpoint by their names in transformers."""

    def read(self, name: str) -> Tensor:
        """Return a tensor on the CPU. Raises KeyError if there is none of this name."""
        ...


@dataclass(frozen=True, slots=True)
class WeightsTarget:
    """Where weights are read to, and in which number format."""

    dtype: torch.dtype
    """Type of the computation, and of the matrices unless `bits` is given."""
    device: str
    bits: Bits | None = None
    """Bits of quantised matrices."""
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

    def make(weight: Tensor, bias: Tensor | None) -> Table:
        nonlocal num_made
        num_made += 1
        report(min(1.0, num_made / num_products))
        if target.bits is None:
            return Dense(weight, bias)
        return Quantised(weight, bias, target.bits, target.backend)

    return build_weights(architecture, read, make, target.window)
