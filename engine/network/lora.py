"""LoRA in the forward pass (Hu et al. 2021, arXiv:2106.09685): y = Wx + b + s B(Ax).

The base weights do not change. So one model in memory serves requests with different adapters and
without one. `engine.loading.adapter_shelf` reads adapters from disk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.kv_cache.cache import CacheOwner
from engine.network.weight_layout import ProductName


@dataclass(frozen=True, slots=True)
class LowRank:
    """The addition of an adapter to one product."""

    down: Tensor
    """The matrix A (rank, in)."""
    up: Tensor
    """The matrix B times the scale s: (out, rank)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the addition (..., out) for `x` (..., in)."""
        return functional.linear(functional.linear(x, self.down), self.up)


AdapterLayers = tuple[Mapping[ProductName, LowRank], ...]
"""The additions of an adapter: for each layer, by the name of the product."""


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """Tokens that an adapter adds, such as those of ChatML for a base model without them."""

    ids: Tensor
    """Token ids (n,) of int64, after the model's own ids or among its unused ones."""
    rows: Tensor
    """Embeddings (n, width) of the tokens, which are also their rows of the output matrix."""
    size: int
    """Number of ids in a vocabulary that contains these tokens."""

    def embed(self, ids: Tensor, added_rows: Tensor, model_rows: Tensor) -> Tensor:
        """Return the embeddings (n, width) of `ids`.

        `added_rows` are those of the added tokens, `model_rows` (n, width) those of the base model.
        """
        match = ids[:, None] == self.ids
        is_added = match.any(-1, keepdim=True)
        return torch.where(is_added, added_rows[match.int().argmax(-1)], model_rows)

    def score(self, hidden: Tensor, logits: Tensor, scale: float) -> Tensor:
        """Return `logits` (n, vocab) with the logits of the added tokens in their columns.

        `scale` is the model's factor of all logits.
        """
        missing = max(0, self.size - logits.shape[-1])
        wider = functional.pad(logits, (0, missing), value=-math.inf)
        return wider.index_copy(-1, self.ids, functional.linear(hidden, self.rows).float() * scale)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter in memory."""

    name: str
    layers: AdapterLayers
    tokens: AddedTokens | None
    """Tokens that the adapter adds, or None."""
    changed: float
    """Modification time of the weights file when it was read, in seconds since 1970."""
    head: LowRank | None = None
    """The addition to the output matrix, or None."""

    def score(self, hidden: Tensor, logits: Tensor, scale: float) -> Tensor:
        """Return `logits` (n, vocab) of the base model with the adapter's additions.

        `hidden` (n, width) are the rows that the output matrix gets, `scale` is the model's factor
        of all logits.
        """
        if self.head is not None:
            logits = logits + self.head(hidden).float() * scale
        return logits if self.tokens is None else self.tokens.score(hidden, logits, scale)

    @property
    def owner(self) -> CacheOwner:
        """Owner of the KV caches that are computed with this adapter."""
        return CacheOwner(self.name, self.changed)
