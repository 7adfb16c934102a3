"""The tensors of a LoRA adapter in peft's format, checked against the model that they change."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.architecture import Architecture
from engine.errors import UnsupportedModelError
from engine.loading.adapter_store import CONFIG_FILE, WEIGHTS_FILE, AdapterFolder

_STEM = "base_model.model."
"""Prefix that peft puts before the names of a model's modules."""
_TOKEN_ROWS = "token_adapter.trainable_tokens_delta"
"""Name of the added tokens' rows. They are whole rows, not differences, despite the name."""

_UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""Options of peft's LoRA that the forward pass does not implement."""


@dataclass(frozen=True, slots=True)
class TokenRows:
    """The embeddings of tokens that an adapter adds."""

    ids: Tensor
    """Token ids (n,) of int64."""
    rows: Tensor
    """Embeddings (n, width), which are also the tokens' rows of the output matrix."""

    @property
    def size(self) -> int:
        """Number of ids in a vocabulary that contains these tokens."""
        return int(self.ids.max()) + 1


class AdapterTensors:
    """The tensors of an adapter by the names of the modules that they change."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take the contents of the two files. Raises UnsupportedModelError unless it is LoRA."""
        self.scale = lora_scale(config)
        """The factor s of the product B A."""
        self._config, self._tensors = config, tensors
        # peft copies the model's own output matrix, which LoRA does not train, into the file.
        self._unread = {name for name in tensors if not name.endswith(".base_layer.weight")}

    @classmethod
    def read(cls, folder: AdapterFolder) -> AdapterTensors:
        """Read an adapter. Raises OSError, ValueError, KeyError, SafetensorError or ModelError."""
        config = json.loads((folder.path / CONFIG_FILE).read_text(encoding="utf-8"))
        return cls(config, load_file(folder.path / WEIGHTS_FILE))

    def pair(self, module: str, shape: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        """Return A (rank, in) and B (out, rank) of a matrix (out, in); None if it is unchanged.

        Raises UnsupportedModelError if they do not fit `shape`.
        """
        stem = f"{_STEM}{module}"
        names = f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"
        if names[0] not in self._tensors:
            return None
        down, up = (self._tensors[name] for name in names)
        self._unread.difference_update(names)
        if (up.shape[0], down.shape[1]) != shape or up.shape[1] != down.shape[0]:
            shapes = f"{tuple(up.shape)} by {tuple(down.shape)} for {shape}"
            raise UnsupportedModelError(f"its shapes do not fit the model at {stem}: {shapes}")
        return down, up

    def token_rows(self, architecture: Architecture) -> TokenRows | None:
        """Return the token rows that peft trained (`trainable_token_indices`), None without any."""
        indices = self._config.get("trainable_token_indices")
        if not indices:
            return None
        if not architecture.is_tied:
            raise UnsupportedModelError("it adds tokens, but the model's embeddings are not tied")
        module = architecture.names.tokens
        if isinstance(indices, dict):
            indices = indices[module.rpartition(".")[2]]
        ids, name = torch.tensor(indices), f"{_STEM}{module}.{_TOKEN_ROWS}"
        rows = self._tensors[name]
        self._unread.discard(name)
        if rows.shape != (len(ids), architecture.width):
            raise UnsupportedModelError(
                f"its token rows have the shape {tuple(rows.shape)} but the model has the width "
                f"{architecture.width}"
            )
        return TokenRows(ids, rows)

    def check_complete(self) -> None:
        """Raise UnsupportedModelError for an adapter that changes more than has been read.

        Such an adapter would otherwise have only a part of its effect.
        """
        if self._unread:
            raise UnsupportedModelError(
                f"it changes {min(self._unread)}, which this model does not support"
            )


def lora_scale(config: Mapping[str, Any]) -> float:
    """Return the factor s of an adapter_config.json.

    Raises UnsupportedModelError unless the adapter is plain LoRA.
    """
    options = [name for name in _UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or options or config.get("bias", "none") != "none":
        raise UnsupportedModelError(
            f"it is not a plain LoRA adapter ({', '.join(options) or config.get('peft_type')})"
        )
    rank = int(config["r"])
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
