"""Adds an adapter to the weights of its model: W + s B A, written as a checkpoint of its own.

Tensors go from the model's files to the new ones, shard by shard, and no network is built. So
memory holds one shard, and a model of 31 GB needs no 31 GB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.serialization import (  # type: ignore[attr-defined]
    split_state_dict_into_shards_factory,
)
from safetensors.torch import save_file
from torch import Tensor

from engine.loading.adapter_tensors import AdapterTensors, TokenRows
from engine.loading.safetensors_reader import INDEX_FILE, SafetensorsFiles
from engine.loading.trainable import TrainableModel
from engine.network.weight_layout import layouts

SHARD_BYTES = 2_000_000_000
"""Bytes of a file of weights; merging needs about twice this memory."""
_SUFFIX = ".weight"


class MergedWeights:
    """The tensors of a model with an adapter. Each is computed when it is read."""

    def __init__(
        self, base: TrainableModel, tensors: AdapterTensors, dtype: torch.dtype | None = None
    ) -> None:
        """Check that the adapter fits the model; reads no weights.

        `dtype` is the number format of the result, None for that of the model's own tensors. Raises
        ModelError, and what `SafetensorsFiles` raises.
        """
        self._architecture, self._config = base.architecture, base.config
        self._files, self._scale, self._dtype = SafetensorsFiles(base.path), tensors.scale, dtype
        self._tokens = tensors.token_rows(base.architecture)
        self._pairs = _pairs(base, tensors)
        tensors.check_complete()

    @property
    def unties(self) -> bool:
        """Whether the output matrix, which was the embedding matrix, becomes one of its own."""
        return self._architecture.is_tied and self._architecture.names.head in self._pairs

    @property
    def config(self) -> dict[str, Any]:
        """The contents of the config.json."""
        config = dict(self._config)
        if self._tokens is not None:
            config["vocab_size"] = max(self._architecture.vocab_size, self._tokens.size)
        if self.unties:
            config["tie_word_embeddings"] = False
        if self._dtype is not None:
            # The name of the key before transformers 4.56, which other programs still read.
            key = "torch_dtype" if "torch_dtype" in config else "dtype"
            config[key] = str(self._dtype).removeprefix("torch.")
        return config

    @property
    def num_bytes(self) -> int:
        """Size of all tensors together."""
        return sum(self.size(name) for name in self.names())

    def names(self) -> list[str]:
        """Return the names of all tensors."""
        names = list(self._files.names)
        head = f"{self._architecture.names.head}{_SUFFIX}"
        if self._architecture.is_tied:  # some files repeat the embedding matrix under this name
            names = [name for name in names if name != head] + [head] * self.unties
        return names

    def size(self, name: str) -> int:
        """Return the size of a tensor in bytes; reads no values."""
        stored = self._stored(name)
        numel = stored.numel()
        if self._tokens is not None and self._is_table(name):
            numel += max(0, self._tokens.size - len(stored)) * stored.shape[1]
        return numel * self._dtype_of(stored).itemsize

    def read(self, name: str) -> Tensor:
        """Return a tensor."""
        tensor = self._stored(name)
        dtype = self._dtype_of(tensor)
        pair = self._pairs.get(name.removesuffix(_SUFFIX)) if name.endswith(_SUFFIX) else None
        if pair is not None:
            down, up = pair
            # Not in place: the tensor may be the mapped file itself.
            tensor = torch.addmm(tensor.float(), up.float(), down.float(), alpha=self._scale)
        if self._tokens is not None and self._is_table(name):
            tensor = _with_tokens(tensor, self._tokens)
        return tensor.to(dtype)

    def _stored(self, name: str) -> Tensor:
        names = self._architecture.names
        is_new = self.unties and name == f"{names.head}{_SUFFIX}"
        return self._files.read_as_stored(f"{names.tokens}{_SUFFIX}" if is_new else name)

    def _dtype_of(self, tensor: Tensor) -> torch.dtype:
        """Return the number format in which a tensor is written."""
        return self._dtype if self._dtype and tensor.is_floating_point() else tensor.dtype

    def _is_table(self, name: str) -> bool:
        """Whether a tensor has a row for each token."""
        names = self._architecture.names
        return name in (f"{names.tokens}{_SUFFIX}", f"{names.head}{_SUFFIX}")


def _pairs(base: TrainableModel, tensors: AdapterTensors) -> dict[str, tuple[Tensor, Tensor]]:
    """Return A and B of each matrix that the adapter changes, by the name of its module."""
    architecture = base.architecture
    shapes = {architecture.names.head: (architecture.vocab_size, architecture.width)}
    for layer in range(architecture.num_layers):
        for layout in layouts(architecture).values():
            for part in layout.parts:
                module = f"{architecture.names.layers}{layer}.{part.name}"
                shapes[module] = part.rows, layout.columns
    pairs = {module: tensors.pair(module, shape) for module, shape in shapes.items()}
    return {module: pair for module, pair in pairs.items() if pair is not None}


def _with_tokens(table: Tensor, tokens: TokenRows) -> Tensor:
    """Return an embedding or output matrix with the rows of added tokens.

    Ids between the model's own and the added ones are no tokens; their rows are the mean of all.
    """
    missing = max(0, tokens.size - len(table))
    if missing:
        mean = table.float().mean(0, keepdim=True).to(table.dtype)
        table = torch.cat([table, mean.expand(missing, -1)])
    return table.index_copy(0, tokens.ids, tokens.rows.to(table.dtype))


def write_merged(
    weights: MergedWeights, folder: Path, report: Callable[[float], None] = lambda _: None
) -> None:
    """Write the weights, the index of their shards and config.json to a folder.

    `report` is called with the share that has been written, 0 to 1. Raises OSError, and what
    `SafetensorsFiles` raises.
    """
    sizes = {name: weights.size(name) for name in weights.names()}
    split = split_state_dict_into_shards_factory(
        sizes,
        get_storage_size=lambda size: size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=SHARD_BYTES,
    )
    written = 0
    for file, shard in split.filename_to_tensors.items():
        tensors = {name: weights.read(name).contiguous() for name in shard}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)  # safetensors lets only the owner read
        written += sum(sizes[name] for name in shard)
        report(written / sum(sizes.values()))
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        _write_json(folder / INDEX_FILE, index)
    _write_json(folder / "config.json", weights.config)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
