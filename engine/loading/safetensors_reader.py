"""The tensors of a checkpoint's safetensors files, which are memory-mapped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

_INDEX = "model.safetensors.index.json"


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
        """Return a tensor; see `engine.loading.weight_reader.TensorFiles`."""
        if name not in self._file_of:
            raise KeyError(f"the checkpoint has no tensor {name}")
        tensor: Tensor = self._shard(self._file_of[name]).get_tensor(name)
        return tensor

    @property
    def is_4_bit(self) -> bool:
        """No matrix of these files has 4 bits; see `TensorFiles`."""
        return False

    def read_grids(self, _name: str) -> None:
        """Return None: no matrix of these files has 4 bits; see `TensorFiles`."""

    def _shard(self, file: str) -> Any:
        if file not in self._open:
            self._open[file] = safe_open(self._path / file, framework="pt")
        return self._open[file]
