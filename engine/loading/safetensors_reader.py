"""Reads weights from a checkpoint's safetensors files to the device that computes with them.

The files are memory-mapped, and each tensor is copied once: into new memory, to the device, or into
8 or 4 bits. The system can back new memory with huge pages. Decoding with the mapped weights
themselves is 1.45 times slower at 1B. At most one tensor is in memory twice at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from engine.architecture import Architecture
from engine.network.backend import Backend
from engine.network.quantised import Bits, Quantised
from engine.network.weights import Dense, Table, Weights, build_weights

_INDEX = "model.safetensors.index.json"


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


class SafetensorsFiles:
    """The tensors of a checkpoint by name, in any of its shards."""

    def __init__(self, path: Path) -> None:
        """Open a directory's files. Raises SafetensorError, OSError, ValueError or KeyError."""
        self._path = path
        self._open: dict[str, Any] = {}
        index = path / _INDEX
        if index.exists():
            self._file_of = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        else:
            self._file_of = {
                name: file.name
                for file in sorted(path.glob("*.safetensors"))
                for name in list(self._shard(file.name).keys())
            }

    def read(self, name: str) -> Tensor:
        """Return a tensor; see `TensorFiles`."""
        if name not in self._file_of:
            raise KeyError(f"the checkpoint has no tensor {name}")
        tensor: Tensor = self._shard(self._file_of[name]).get_tensor(name)
        return tensor

    def _shard(self, file: str) -> Any:
        if file not in self._open:
            self._open[file] = safe_open(self._path / file, framework="pt")
        return self._open[file]
