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

from engine.errors import RequestError, UnsupportedModelError
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
from engine.network.weights import PRODUCTS, Product, Weights
from engine.tokenizer import Tokenizer

_TOKEN_ROWS = "base_model.model.transformer.wte.token_adapter.trainable_tokens_delta"
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
                "Adapters need a multi-query StarCoder model that lies on a single device."
            )
        try:
            config = json.loads((folder.path / CONFIG_FILE).read_text(encoding="utf-8"))
            tensors = load_file(folder.path / WEIGHTS_FILE)
            scale = lora_scale(config)
            layers = tuple(
                _read_layer(index, layer.products, tensors, scale, base.positions)
                for index, layer in enumerate(base.layers)
            )
            tokens = _read_tokens(config, tensors, base.positions)
        except (OSError, ValueError, KeyError, SafetensorError, UnsupportedModelError) as error:
            raise RequestError(f"The adapter {folder.name!r} cannot be used: {error}") from error
        return Adapter(folder.name, layers, tokens, folder.changed)


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


def _read_tokens(
    config: dict[str, Any], tensors: Mapping[str, Tensor], like: Tensor
) -> AddedTokens | None:
    """Return the token rows that peft trained (`trainable_token_indices`), None without any.

    `like` has the dtype and device of the result.
    """
    indices = config.get("trainable_token_indices")
    if not indices:
        return None
    ids = torch.tensor(indices["wte"] if isinstance(indices, dict) else indices)
    rows = tensors[_TOKEN_ROWS]
    if rows.shape != (len(ids), like.shape[1]):
        raise UnsupportedModelError(
            f"its token rows have the shape {tuple(rows.shape)} but the model has the width "
            f"{like.shape[1]}"
        )
    size = int(ids.max()) + 1
    return AddedTokens(ids.to(like.device), rows.to(like), size)


def _read_layer(
    index: int,
    products: Mapping[str, Product],
    tensors: Mapping[str, Tensor],
    scale: float,
    like: Tensor,
) -> dict[str, LowRank]:
    additions: dict[str, LowRank] = {}
    for name in PRODUCTS:
        stem = f"base_model.model.transformer.h.{index}.{name}"
        if f"{stem}.lora_A.weight" not in tensors:
            continue
        shape = products[name].shape
        down, up = tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"]
        if (up.shape[0], down.shape[1]) != shape or up.shape[1] != down.shape[0]:
            shapes = f"{tuple(up.shape)} by {tuple(down.shape)} for {shape}"
            raise UnsupportedModelError(f"its shapes do not fit the model at {stem}: {shapes}")
        # Scaling once, in full precision, saves a product in each step.
        scaled = (up.to(torch.float32) * scale).to(like)
        additions[name] = LowRank(down.to(like), scaled)
    return additions
