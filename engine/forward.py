"""The network: from ids to logits, with the KV cache between calls.

Two ways through the same weights. `LeanForward` is GPTBigCode written out for a multi-query model
that lies wholly on one device: few large operations, no hooks, no mask where none is needed.
`ModuleForward` is transformers' own module, for everything else: weights spread over devices or
offloaded by accelerate, models without multi-query attention, other architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache, CacheLayerMixin

from engine.errors import RequestError
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
        self._weights = weights

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
        held, start, count = self._weights, len(cache.ids), ids.shape[0]
        ids = ids.to(held.device)
        added = cache.adapter.tokens if cache.adapter else None
        embedded = added.embed(ids, held.tokens) if added else held.tokens[ids]
        hidden = embedded + held.positions[start : start + count]
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

    def _mask(self, start: int, count: int) -> Tensor | None:
        # One query sees every row, and a prompt from 0 on is plainly causal: no mask for either.
        if count == 1 or start == 0:
            return None
        rows = torch.arange(start, start + count, device=self._weights.device)
        return torch.arange(start + count, device=self._weights.device) <= rows[:, None]

    def _attend(
        self, normed: Tensor, layer: Layer, index: int, cache: KVCache, start: int,
        mask: Tensor | None,
    ) -> Tensor:  # fmt: skip
        held = self._weights
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


class _BufferLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of our buffers, as transformers' attention wants to see it."""

    is_sliding = False

    def __init__(self, cache: KVCache, index: int) -> None:
        super().__init__()
        self._cache, self._index = cache, index
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the buffers are there from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write rows, (1, kv_heads, n, head_dim); return all of them up to their end."""
        start = len(self._cache.ids)
        keys, values = self._cache.write(self._index, start, key_states[0], value_states[0])
        return keys[None], values[None]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Rows that the queries see, and where they begin."""
        return len(self._cache.ids) + query_length, 0

    def get_seq_length(self) -> int:
        """Rows that are committed."""
        return len(self._cache.ids)

    def get_max_length(self) -> int:
        """Rows there is room for."""
        return self._cache.shape.capacity


class ModuleForward:
    """Transformers' own module over our buffers."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        if self._device.type == "meta":  # offloaded: accelerate's hooks bring weights and inputs
            self._device = torch.device("cpu")

    def __call__(self, ids: Tensor, cache: KVCache, *, every: bool = False) -> Tensor:
        """See `Forward`. Raises RequestError for an adapter: the module has no place for it."""
        if cache.adapter is not None:
            raise RequestError(
                "Adapters need a multi-query StarCoder that lies wholly on one device."
            )
        layers = [_BufferLayer(cache, index) for index in range(len(cache.keys))]
        start = len(cache.ids)
        positions = torch.arange(start, start + ids.shape[0], device=self._device)
        logits: Tensor = self._model(
            input_ids=ids.to(self._device)[None],
            position_ids=positions[None],
            past_key_values=Cache(layers=layers),
            use_cache=True,
            logits_to_keep=0 if every else 1,
        ).logits[0]
        return logits.float() if every else logits[-1].float()


def forward_for(model: Any) -> Forward:
    """Return the fastest forward that a model allows."""
    return LeanForward(weights_of(model)) if LeanForward.fits(model) else ModuleForward(model)
