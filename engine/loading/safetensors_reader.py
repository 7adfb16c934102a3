"""Reads weights from a checkpoint's safetensors files to the device that computes with them.

The files are memory-mapped, and each tensor is copied once: into new memory, to the device, or into
8 or 4 bits. The system can back new memory with huge pages. Decoding with the mapped weights
themselves is 1.45 times slower at 1B. At most one tensor is in memory twice at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from engine.network.backend import Backend
from engine.network.quantised import Bits, Quantised
from engine.network.weights import Dense, Table, Weights, build_weights

_INDEX = "model.safetensors.index.json"


def read_weights(
    path: Path,
    config: dict[str, Any],
    dtype: torch.dtype,
    bits: Bits | None,
    device: str,
    backend: Backend | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> Weights:
    """Return the weights of a multi-query GPTBigCode.

    `dtype` is the type of the computation, and of the matrices unless `bits` is given. Quantised
    products use the kernels of `backend`. `report` is called with the share that has been read,
    0 to 1.

    Raises SafetensorError, OSError, ValueError or KeyError for damaged files, and RuntimeError or
    MemoryError if memory runs out.
    """
    files = _Files(path)
    num_tensors = 12 * int(config["n_layer"]) + 4

    def read(name: str) -> Tensor:
        report(min(1.0, files.num_read / num_tensors))
        return files.read(name).to(device=device, dtype=dtype, copy=True)

    def make(weight: Tensor, bias: Tensor | None) -> Table:
        return Quantised(weight, bias, bits, backend) if bits else Dense(weight, bias)

    return build_weights(config, read, make)


class _Files:
    """The tensors of a checkpoint by name, in any of its shards."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, Any] = {}
        self.num_read = 0
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
        self.num_read += 1
        if name not in self._file_of:
            raise KeyError(f"the checkpoint has no tensor {name}")
        tensor: Tensor = self._shard(self._file_of[name]).get_tensor(name)
        return tensor

    def _shard(self, file: str) -> Any:
        if file not in self._open:
            self._open[file] = safe_open(self._path / file, framework="pt")
        return self._open[file]
