"""A whole decoding step in one call: nothing is left to see beside the memory's rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.kernels.native import (
    BF16,
    BF16_DOT,
    FLOAT,
    LANES,
    LayerParts,
    ModelParts,
    Native,
    NativeMatrix,
    cache_pointers,
    kind_of,
    matrix,
)
from engine.kv_cache.cache import KVCache
from engine.network.quantised import Quantised, multiplies_many
from engine.network.weights import PRODUCTS, TANH_GELU, Dense, Layer, Product, Table, Weights

MOST_ROWS = 32
"""Of a step of several sequences, or of weights that are not quantised."""

_CACHE_DTYPES = (torch.float32, torch.bfloat16)


class FusedStep:
    """The network for a few rows at a time, on a CPU, without adapters.

    It computes in float32. Weights that are float32 but were bfloat16 in the checkpoint are read as
    that, which is the same numbers in half the bytes.
    """

    def __init__(self, native: Native, weights: Weights) -> None:
        self._native = native
        self._pointers: WeakKeyDictionary[KVCache, tuple[list[Tensor], Any]] = WeakKeyDictionary()
        quantised = all(isinstance(one, Quantised) for one in weights.layers[0].products.values())
        self.takes_many = (
            multiplies_many(native)
            if quantised
            else weights.dtype == torch.bfloat16 and native.is_fast_for_many_rows(BF16)
        )
        """Whether it is the fastest for any number of rows of one sequence, too."""
        head = _matrix(weights.head)
        self._model = native.model(
            ModelParts(
                heads=weights.heads,
                scale=weights.scale,
                epsilon=weights.last_norm.epsilon,
                cache_dtype=weights.dtype,
                layers=[_layer(layer) for layer in weights.layers],
                last_norm=(weights.last_norm.weight, weights.last_norm.bias),
                tokens=head if weights.tokens is weights.head else _table(weights.tokens),
                head=head,
                positions=weights.positions.contiguous(),
            )
        )

    @staticmethod
    def fits(weights: Weights) -> bool:
        """Whether the kernels know all that the network consists of."""
        products = [p for layer in weights.layers for p in layer.products.values()]
        products.append(weights.tokens)
        return (
            weights.device.type == "cpu"
            and weights.dtype in _CACHE_DTYPES
            and weights.activation_name == TANH_GELU
            and weights.head_dim % LANES == 0
            and all(isinstance(product, (Dense, Quantised)) for product in products)
            and all(side % LANES == 0 for product in products[:-1] for side in product.shape)
        )

    def __call__(
        self, ids: Tensor, places: Sequence[tuple[KVCache, int]], wanted: Sequence[int]
    ) -> Tensor:
        """Return logits (wanted, vocab) in float32, and write a row for each id to its cache.

        `ids` is (n,) of int64; `places` say for each which cache it belongs to and where; `wanted`
        for which of them logits are asked for.
        """
        rows = [(self._pointers_of(cache), position) for cache, position in places]
        return self._native.step(self._model, ids.contiguous(), rows, wanted)

    def _pointers_of(self, cache: KVCache) -> Any:
        """Return the addresses of a cache's buffers, which are new ones when it has grown."""
        known = self._pointers.get(cache)
        if known is None or known[0] is not cache.keys:
            known = self._pointers[cache] = (cache.keys, cache_pointers(cache.keys, cache.values))
        return known[1]


def _layer(layer: Layer) -> LayerParts:
    products = [_matrix(layer.products[name]) for name in PRODUCTS]
    return LayerParts(
        (layer.norm_1.weight, layer.norm_1.bias),
        (layer.norm_2.weight, layer.norm_2.bias),
        *products,
    )


def _table(tokens: Table) -> NativeMatrix:
    if isinstance(tokens, Quantised):
        return tokens.held
    assert isinstance(tokens, Dense)
    return matrix(
        kind_of(tokens.weight.dtype), tokens.shape, tokens.weight.contiguous(), None, None
    )


def _matrix(product: Product) -> NativeMatrix:
    if isinstance(product, Quantised):
        return product.held
    assert isinstance(product, Dense)
    weight = product.weight.contiguous()
    if weight.dtype == torch.bfloat16:
        return matrix(BF16_DOT, product.shape, weight, None, product.bias)
    narrow = weight.bfloat16()
    if torch.equal(narrow.to(weight.dtype), weight):
        return matrix(BF16, product.shape, narrow, None, product.bias)
    return matrix(FLOAT, product.shape, weight, None, product.bias)
