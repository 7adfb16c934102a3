"""LoRA in the forward pass (Hu et al. 2021, arXiv:2106.09685): y = Wx + b + s B(Ax).

The base weights stay as they are, so that requests with and without an adapter, or with different
ones, are answered by one model in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

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
from engine.network.weights import PRODUCTS, Product, Weights
from engine.tokenizer import Tokenizer

_TOKEN_ROWS = "base_model.model.transformer.wte.token_adapter.trainable_tokens_delta"
"""Whole rows, in spite of the name."""

_UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out")


@dataclass(frozen=True, slots=True)
class LowRank:
    """What an adapter adds to one product."""

    down: Tensor
    """A: (rank, in)."""
    up: Tensor
    """s B: (out, rank)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the addition for `x` (..., in): (..., out)."""
        return functional.linear(functional.linear(x, self.down), self.up)


Layers = tuple[Mapping[str, LowRank], ...]
"""An adapter: for each layer, additions by name of the product."""


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """Tokens that an adapter brings along, such as ChatML's for a base that has none."""

    ids: Tensor
    """(n,) of int64, behind the model's own or among its unused ones."""
    rows: Tensor
    """(n, width): their embeddings, and their rows of the output."""
    size: int
    """Ids that a vocabulary with these tokens has."""

    def embed(self, ids: Tensor, of_model: Tensor) -> Tensor:
        """Return the embeddings (n, width) of ids, where `of_model` are those of the model."""
        match = ids[:, None] == self.ids
        return torch.where(match.any(-1, keepdim=True), self.rows[match.int().argmax(-1)], of_model)

    def score(self, hidden: Tensor, logits: Tensor) -> Tensor:
        """Return the logits with those of the added tokens in their places."""
        missing = max(0, self.size - logits.shape[-1])
        wider = functional.pad(logits, (0, missing), value=-math.inf)
        return wider.index_copy(-1, self.ids, functional.linear(hidden, self.rows).float())


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in memory."""

    name: str
    layers: Layers
    tokens: AddedTokens | None
    changed: float
    """When its file was written, as it was read."""


class AdapterShelf:
    """The adapters that one model can answer with; each is read when it is first asked for."""

    def __init__(self, weights: Weights | None, fingerprint: str, folder: Path) -> None:
        """`weights` are None for a model that has no place for adapters."""
        self._folder, self._fingerprint = folder, fingerprint
        self._weights = weights
        self._held: dict[str, Adapter] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the adapters on disk that were made for this model."""
        found = adapters(self._folder)
        return tuple(one.name for one in found if one.note.fingerprint == self._fingerprint)

    def get(self, name: str) -> Adapter:
        """Return an adapter, read anew if its file has changed. Raises RequestError."""
        check_name(name)
        found = read_adapter(self._folder / name)
        if found is None:
            known = ", ".join(self.names()) or "none"
            raise RequestError(f"There is no adapter {name!r}; those for this model: {known}.")
        if found.note.fingerprint != self._fingerprint:
            raise RequestError(
                f"The adapter {name!r} was made for another model, {found.note.base}. Use it with "
                "that one, or tune again."
            )
        held = self._held.get(name)
        if held is None or held.changed != found.changed:
            held = self._held[name] = self._read(found)
        return held

    def tokenizer(self, name: str) -> Tokenizer | None:
        """Return the tokenizer that an adapter brings, None if it brings none.

        Raises RequestError for one that is not there.
        """
        self.get(name)
        file = self._folder / name / TOKENIZER_FILE
        return Tokenizer.from_file(file) if file.exists() else None

    def _read(self, found: AdapterFolder) -> Adapter:
        base = self._weights
        if base is None:
            raise RequestError(
                "Adapters need a multi-query StarCoder that lies wholly on one device."
            )
        try:
            config = json.loads((found.path / CONFIG_FILE).read_text(encoding="utf-8"))
            weights = load_file(found.path / WEIGHTS_FILE)
            scale = scale_of(config)
            layers = tuple(
                _layer(index, layer.products, weights, scale, base.positions)
                for index, layer in enumerate(base.layers)
            )
            tokens = _tokens(config, weights, base.positions)
        except (OSError, ValueError, KeyError, SafetensorError, UnsupportedModelError) as error:
            raise RequestError(f"The adapter {found.name!r} cannot be used: {error}") from error
        return Adapter(found.name, layers, tokens, found.changed)


def scale_of(config: dict[str, Any]) -> float:
    """Return s of an adapter_config.json; raises UnsupportedModelError unless it is plain LoRA."""
    asked = [name for name in _UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or asked or config.get("bias", "none") != "none":
        raise UnsupportedModelError(
            f"it is no plain LoRA adapter ({', '.join(asked) or config.get('peft_type')})"
        )
    rank = int(config["r"])
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _tokens(
    config: dict[str, Any], weights: Mapping[str, Tensor], like: Tensor
) -> AddedTokens | None:
    """Return the token rows that peft trained (`trainable_token_indices`), None for none."""
    named = config.get("trainable_token_indices")
    if not named:
        return None
    ids = torch.tensor(named["wte"] if isinstance(named, dict) else named)
    rows = weights[_TOKEN_ROWS]
    if rows.shape != (len(ids), like.shape[1]):
        raise UnsupportedModelError(
            f"its tokens' rows are {tuple(rows.shape)} in a model of width {like.shape[1]}"
        )
    size = int(ids.max()) + 1
    return AddedTokens(ids.to(like.device), rows.to(like), size)


def _layer(
    index: int,
    products: Mapping[str, Product],
    weights: Mapping[str, Tensor],
    scale: float,
    like: Tensor,
) -> dict[str, LowRank]:
    made: dict[str, LowRank] = {}
    for name in PRODUCTS:
        stem = f"base_model.model.transformer.h.{index}.{name}"
        if f"{stem}.lora_A.weight" not in weights:
            continue
        shape = products[name].shape
        down, up = weights[f"{stem}.lora_A.weight"], weights[f"{stem}.lora_B.weight"]
        if (up.shape[0], down.shape[1]) != shape or up.shape[1] != down.shape[0]:
            shapes = f"{tuple(up.shape)} by {tuple(down.shape)} for {shape}"
            raise UnsupportedModelError(f"its shapes do not fit the model at {stem}: {shapes}")
        # Scaled in full precision, once: no product more in each step.
        scaled = (up.to(torch.float32) * scale).to(like)
        made[name] = LowRank(down.to(like), scaled)
    return made
