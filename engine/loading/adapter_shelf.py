"""Reads LoRA adapters from disk and keeps them in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from engine.errors import RequestError, UnsupportedModelError, reason_of
from engine.loading.adapter_store import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    AdapterFolder,
    adapters,
    check_name,
    read_adapter,
)
from engine.network.lora import Adapter, AddedTokens, LowRank
from engine.network.weight_layout import ProductLayout, ProductName, layouts
from engine.network.weights import Weights
from engine.tokenizer import Tokenizer

_STEM = "base_model.model."
"""Prefix that peft puts before the names of a model's modules."""
_TOKEN_ROWS = "token_adapter.trainable_tokens_delta"
"""Name of the added tokens' rows. They are whole rows, not differences, despite the name."""

_UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""Options of peft's LoRA that the forward pass does not implement."""


class AdapterShelf:
    """The adapters that can be used with one model. Each is read when it is first requested."""

    def __init__(self, weights: Weights | None, fingerprint: str, folder: Path) -> None:
        """Create a shelf over `folder`; `weights` is None for a model that supports no adapters."""
        self._folder, self._fingerprint = folder, fingerprint
        self._weights = weights
        self._loaded: dict[str, Adapter] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the adapters on disk that were trained on this model."""
        return tuple(
            adapter.name
            for adapter in adapters(self._folder)
            if adapter.note.fingerprint == self._fingerprint
        )

    def get(self, name: str) -> Adapter:
        """Return an adapter; it is read again if its file has changed.

        Raises RequestError, and ConfigurationError for an invalid name.
        """
        check_name(name)
        folder = read_adapter(self._folder / name)
        if folder is None:
            names = ", ".join(self.names()) or "none"
            raise RequestError(f"There is no adapter {name!r}. Adapters for this model: {names}.")
        if folder.note.fingerprint != self._fingerprint:
            raise RequestError(
                f"The adapter {name!r} was made for another model, {folder.note.base}. Use it with "
                "that model, or tune again."
            )
        adapter = self._loaded.get(name)
        if adapter is None or adapter.changed != folder.changed:
            adapter = self._loaded[name] = self._read(folder)
        return adapter

    def tokenizer(self, name: str) -> Tokenizer | None:
        """Return the tokenizer of an adapter, None if it uses the model's own.

        Raises RequestError if there is no such adapter.
        """
        self.get(name)
        file = self._folder / name / TOKENIZER_FILE
        return Tokenizer.from_file(file) if file.exists() else None

    def _read(self, folder: AdapterFolder) -> Adapter:
        base = self._weights
        if base is None:
            raise RequestError(
                "Adapters need a model that lies on a single device, of an architecture that "
                "starcoder-lsp computes itself."
            )
        try:
            config = json.loads((folder.path / CONFIG_FILE).read_text(encoding="utf-8"))
            tensors = load_file(folder.path / WEIGHTS_FILE)
            reader = _Reader(base, tensors, lora_scale(config))
            layers = tuple(reader.layer(index) for index in range(len(base.layers)))
            tokens, head = reader.added_tokens(config), reader.head()
            reader.check_complete()
        except (OSError, ValueError, KeyError, SafetensorError, UnsupportedModelError) as error:
            raise RequestError(
                f"The adapter {folder.name!r} cannot be used: {reason_of(error)}."
            ) from error
        return Adapter(folder.name, layers, tokens, folder.changed, head)


def lora_scale(config: dict[str, Any]) -> float:
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


class _Reader:
    """Reads the tensors of an adapter for a model."""

    def __init__(self, base: Weights, tensors: Mapping[str, Tensor], scale: float) -> None:
        self._base, self._tensors, self._scale = base, tensors, scale
        self._layouts = layouts(base.architecture)
        # peft copies the model's own output matrix, which LoRA does not train, into the file.
        self._unread = {name for name in tensors if not name.endswith(".base_layer.weight")}

    def layer(self, index: int) -> dict[ProductName, LowRank]:
        """Return the additions to the products of a layer."""
        stem = f"{_STEM}{self._base.architecture.names.layers}{index}."
        additions = {name: self._product(stem, layout) for name, layout in self._layouts.items()}
        return {name: addition for name, addition in additions.items() if addition is not None}

    def head(self) -> LowRank | None:
        """Return the addition to the output matrix, None if the adapter does not change it."""
        architecture = self._base.architecture
        shape = architecture.vocab_size, architecture.width
        pair = self._pair(f"{_STEM}{architecture.names.head}", shape)
        if pair is None:
            return None
        down, up = pair
        return LowRank(self._placed(down), self._placed(up.float() * self._scale))

    def _product(self, stem: str, layout: ProductLayout) -> LowRank | None:
        """Return the addition to one product, whose matrices may each have their own.

        The low ranks of all matrices are placed one after the other: each has its own rows of A,
        and in B its own columns, which are zero outside of the rows of its matrix.
        """
        downs, ups, first = [], [], 0
        for part in layout.parts:
            pair = self._pair(f"{stem}{part.name}", (part.rows, layout.columns))
            if pair is not None:
                down, up = pair
                downs.append(down)
                ups.append(functional.pad(up, (0, 0, first, layout.rows - first - part.rows)))
            first += part.rows
        if not downs:
            return None
        # Scaling once, in full precision, saves a product in each step.
        up = layout.ordered(torch.cat(ups, 1).float() * self._scale)
        return LowRank(self._placed(torch.cat(downs)), self._placed(up))

    def _pair(self, stem: str, shape: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        """Return A and B of one matrix (out, in), None if the adapter does not change it."""
        names = f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"
        if names[0] not in self._tensors:
            return None
        down, up = (self._tensors[name] for name in names)
        self._unread.difference_update(names)
        if (up.shape[0], down.shape[1]) != shape or up.shape[1] != down.shape[0]:
            shapes = f"{tuple(up.shape)} by {tuple(down.shape)} for {shape}"
            raise UnsupportedModelError(f"its shapes do not fit the model at {stem}: {shapes}")
        return down, up

    def added_tokens(self, config: dict[str, Any]) -> AddedTokens | None:
        """Return the token rows that peft trained (`trainable_token_indices`), None without any."""
        indices = config.get("trainable_token_indices")
        if not indices:
            return None
        architecture = self._base.architecture
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
        size = int(ids.max()) + 1
        return AddedTokens(ids.to(self._base.device), self._placed(rows), size)

    def check_complete(self) -> None:
        """Raise UnsupportedModelError for an adapter that changes more than the reader has read.

        Such an adapter would otherwise have only a part of its effect.
        """
        if self._unread:
            raise UnsupportedModelError(
                f"it changes {min(self._unread)}, which this model does not support"
            )

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self._base.dtype, device=self._base.device)
