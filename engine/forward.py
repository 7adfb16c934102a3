"""The network: from ids to logits, with the KV cache between calls.

`LeanForward` is GPTBigCode written out for a multi-query model that lies wholly on one device: few
large operations, no hooks, no mask where none is needed; and on a CPU one call of the kernels for a
few rows. Everything else is for `engine.module_forward`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.build import kernels, ready
from engine.kernels.network import MOST_ROWS, FusedStep
from engine.kv_cache import KVCache
from engine.lora import LowRank
from engine.weights import Layer, Weights, weights_of


class Forward(Protocol):
    """Computes logits and fills the cache."""

    def __call__(self, ids: Tensor, cache: KVCache, *, every: bool = False) -> Tensor:
        """Write the rows of `ids` behind those the cache holds and return float32 logits.

        `ids` is (n,) of int64; the result is (vocab,) for the last id, (n, vocab) with `every`.
        The caller commits the rows.
        """
        ...


class LeanForward:
    """GPTBigCode with multi-query attention on one device (Shazeer 2019, arXiv:1911.02150)."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._fused: FusedStep | None = None
        self._may_fuse = FusedStep.fits(weights)
        if self._may_fuse:
            kernels()  # compiled while the plain path serves

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model is one that this forward computes."""
        devices = {parameter.device for parameter in model.parameters()}
        return (
            model.config.model_type == "gpt_bigcode"
            and model.config.multi_query
            and len(devices) == 1
            and next(iter(devices)).type != "meta"
            and not hasattr(model, "_hf_hook")
        )

    def __call__(self, ids: Tensor, cache: KVCache, *, every: bool = False) -> Tensor:
        """See `Forward`."""
        held, start, count = self.weights, len(cache.ids), ids.shape[0]
        ids = ids.to(held.device)
        added = cache.adapter.tokens if cache.adapter else None
        embedded = held.tokens.rows(ids.clamp(max=held.tokens.shape[0] - 1)).to(held.dtype)
        if added:
            embedded = added.embed(ids, embedded)
        hidden = embedded + held.positions[start : start + count]
        if count <= MOST_ROWS and cache.adapter is None and (fused := self._fused_step()):
            wanted = range(count) if every else (count - 1,)
            logits = fused(hidden, [(cache, start + row) for row in range(count)], wanted)
            return logits if every else logits[0]
        mask = self._mask(start, count)
        for index, layer in enumerate(held.layers):
            low = cache.adapter.layers[index] if cache.adapter else _NO_ADAPTER
            normed = layer.norm_1(hidden)
            hidden = hidden + self._attend(normed, layer, index, cache, start, mask)
            inner = _product("mlp.c_fc", layer, low, layer.norm_2(hidden))
            hidden = hidden + _product("mlp.c_proj", layer, low, held.activation(inner))
        last = held.last_norm(hidden if every else hidden[-1:])
        logits = held.head(last).float()
        if added:
            logits = added.score(last, logits)
        return logits if every else logits[0]

    def _fused_step(self) -> FusedStep | None:
        if self._may_fuse and self._fused is None and (native := ready()):
            self._fused = FusedStep(native, self.weights)
        return self._fused

    def _mask(self, start: int, count: int) -> Tensor | None:
        # One query sees every row, and a prompt from 0 on is plainly causal: no mask for either.
        if count == 1 or start == 0:
            return None
        rows = torch.arange(start, start + count, device=self.weights.device)
        return torch.arange(start + count, device=self.weights.device) <= rows[:, None]

    def _attend(
        self, normed: Tensor, layer: Layer, index: int, cache: KVCache, start: int,
        mask: Tensor | None,
    ) -> Tensor:  # fmt: skip
        held = self.weights
        count, dim, width, heads = normed.shape[0], held.head_dim, held.width, held.heads
        low = cache.adapter.layers[index] if cache.adapter else _NO_ADAPTER
        mixed = _product("attn.c_attn", layer, low, normed)
        query, key, value = torch.split(mixed, [width, dim, dim], dim=-1)
        keys, values = cache.write(index, start, key[None], value[None])
        if count == 1:
            # The heads of one query are rows of one matrix: two small products do it all.
            scores = (query.view(heads, dim) @ keys[0].T).float() * held.scale
            mixed = scores.softmax(-1).to(values.dtype) @ values[0]
            return _product("attn.c_proj", layer, low, mixed.view(1, width))
        shape = (1, heads, keys.shape[1], dim)
        mixed = functional.scaled_dot_product_attention(
            query.view(count, heads, dim).transpose(0, 1)[None],
            keys.expand(shape[1:])[None],
            values.expand(shape[1:])[None],
            attn_mask=mask,
            is_causal=mask is None,
            scale=held.scale,
        )
        mixed = mixed[0].transpose(0, 1).reshape(count, width)
        return _product("attn.c_proj", layer, low, mixed)


_NO_ADAPTER: dict[str, LowRank] = {}


def _product(name: str, layer: Layer, low: Mapping[str, LowRank], x: Tensor) -> Tensor:
    made = layer.products[name](x)
    return made + low[name](x) if name in low else made


def forward_for(model: Any) -> Forward:
    """Return the fastest forward that a model allows."""
    if LeanForward.fits(model):
        return LeanForward(weights_of(model))
    from engine.module_forward import ModuleForward

    return ModuleForward(model)
