"""The tensors of a checkpoint's safetensors files, which are memory-mapped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

INDEX_FILE = "model.safetensors.index.json"

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def _read_index(index: Path) -> dict[str, str]:
    """Return the file name of each tensor. Raises ValueError for a file outside of the folder."""
    content = json.loads(index.read_text(encoding="utf-8"))
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise ValueError(f"{INDEX_FILE} has no weight_map")
    for file in files.values():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{INDEX_FILE} names a file that is not next to it")
    return files


class SafetensorsFiles:
    """The tensors of a checkpoint by name, in any of its shards."""

    def __init__(self, path: Path) -> None:
        """Open a directory's files. Raises SafetensorError, OSError, ValueError or KeyError."""
        self._path = path
        self._open: dict[str, Any] = {}
        index = path / INDEX_FILE
        if index.exists():
            self._file_of = _read_index(index)
        else:
            self._file_of = {
                name: file.name
                for file in sorted(path.glob("*.safetensors"))
                for name in list(self._shard(file.name).keys())
            }

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(self._file_of)

    def read_as_stored(self, name: str) -> Tensor:
        """Return a tensor of any number format. Raises KeyError if there is none of this name.

        It is mapped from the file and takes no memory until its values are read.
        """
        if name not in self._file_of:
            raise KeyError(f"the checkpoint has no tensor {name}")
        tensor: Tensor = self._shard(self._file_of[name]).get_tensor(name)
        return tensor

    def read(self, name: str) -> Tensor:
        """Return a tensor; see `engine.loading.weight_reader.TensorFiles`."""
        tensor = self.read_as_stored(name)
        if tensor.dtype not in _DTYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(
                f"the tensor {name} has the number format {kind} instead of float32, float16 or "
                "bfloat16"
            )
        return tensor

    @property
    def is_4_bit(self) -> bool:
        """No matrix of these files has 4 bits; see `TensorFiles`."""
        return False

    def read_grids(self, _name: str) -> None:
        """Return None: no matrix of these files has 4 bits; see `TensorFiles`."""

    def _shard(self, file: str) -> Any:
        if file not in self._open:
            if not (self._path / file).is_file():  # opening a FIFO would wait without end
                raise FileNotFoundError(f"there is no file {file}")
            self._open[file] = safe_open(self._path / file, framework="pt")
        return self._open[file]
