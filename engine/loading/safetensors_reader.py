"""Weights straight from a checkpoint's safetensors to where they are computed with.

The files are mapped, and each tensor is copied once: into fresh memory, which the system can back
with huge pages (used where they were mapped, weights decode 1.45 times slower at 1B), or to the
device, or into fewer bits. Never is more than one tensor there twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from engine.network.quantised import Bits, Quantised
from engine.network.weights import Dense, Table, Weights, weights_from

_INDEX = "model.safetensors.index.json"


def read_weights(
    path: Path,
    config: dict[str, Any],
    dtype: torch.dtype,
    bits: Bits | None,
    device: str,
    done: Callable[[float], None] = lambda _: None,
) -> Weights:
    """Return the weights of a multi-query GPTBigCode.

    `dtype` is what is computed in; the matrices' weights have it too, unless `bits` are given.
    `done` is told the share that is read. Raises SafetensorError, OSError, ValueError or KeyError
    for damaged files, RuntimeError where memory ends.
    """
    files = _Files(path)
    expected = 12 * int(config["n_layer"]) + 4

    def take(name: str) -> Tensor:
        done(min(1.0, files.taken / expected))
        found = files.take(name)
        return found.to(device=device, dtype=dtype, copy=True)

    def make(weight: Tensor, bias: Tensor | None) -> Table:
        return Quantised(weight, bias, bits) if bits else Dense(weight, bias)

    return weights_from(config, take, make)


class _Files:
    """The tensors of a checkpoint by name, whichever shard they are in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, Any] = {}
        self.taken = 0
        index = path / _INDEX
        if index.exists():
            self._file_of = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        else:
            self._file_of = {
                name: file.name
                for file in sorted(path.glob("*.safetensors"))
                for name in list(self._shard(file.name).keys())
            }

    def take(self, name: str) -> Tensor:
        self.taken += 1
        if name not in self._file_of:
            raise KeyError(f"there is no tensor {name}")
        found: Tensor = self._shard(self._file_of[name]).get_tensor(name)
        return found

    def _shard(self, file: str) -> Any:
        if file not in self._open:
            self._open[file] = safe_open(self._path / file, framework="pt")
        return self._open[file]
