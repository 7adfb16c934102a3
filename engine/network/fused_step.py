"""One decoding step as a single C++ call, limited by memory bandwidth.

A call per operation would cost more than a small model's arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.kernels.native import Native
from engine.kernels.structures import (
    BF16,
    BF16_DOT,
    FLOAT,
    GELU,
    LANES,
    SILU,
    CachePointers,
    LayerParts,
    ModelParts,
    NativeMatrix,
    NormParts,
    cache_pointers,
    kind_of,
    matrix,
    model_structure,
)
from engine.kv_cache.cache import KVCache
from engine.network.quantised import Quantised, is_fast_for_prefill
from engine.network.weight_layout import PRODUCTS
from engine.network.weights import SILU as SILU_NAME
from engine.network.weights import TANH_GELU, Dense, Layer, Norm, Product, Table, Weights

_ACTIVATIONS = {TANH_GELU: GELU, SILU_NAME: SILU}
"""The kernels' activation functions by their names in config.json."""
_CACHE_DTYPES = (torch.float32, torch.bfloat16)


class FusedStep:
    """The network for steps of up to `DECODE_ROWS` rows, on a CPU, without adapters.

    It computes in float32. Weights in float32 that were bfloat16 in the checkpoint are stored as
    bfloat16: the same numbers in half the bytes.
    """

    def __init__(self, native: Native, weights: Weights) -> None:
        """Prepare the weights for the kernels `native`; see `supports`."""
        self._native = native
        self._pointers: WeakKeyDictionary[KVCache, tuple[list[Tensor], CachePointers]] = (
            WeakKeyDictionary()
        )
        is_quantised = all(
            isinstance(product, Quantised) for product in weights.layers[0].products.values()
        )
        self.supports_prefill = (
            is_fast_for_prefill(native)
            if is_quantised
            else weights.dtype == torch.bfloat16 and native.is_fast_for_many_rows(BF16)
        )
        """Whether this is also the fastest way to compute many rows of one sequence."""
        self._model = model_structure(_model_parts(weights))

    @staticmethod
    def supports(weights: Weights) -> bool:
        """Return whether the kernels can compute a network with these weights."""
        products = [product for layer in weights.layers for product in layer.products.values()]
        return (
            weights.device.type == "cpu"
            and weights.dtype in _CACHE_DTYPES
            and weights.architecture.activation in _ACTIVATIONS
            and weights.head_dim % LANES == 0
            and all(isinstance(table, (Dense, Quantised)) for table in (*products, weights.tokens))
            and all(side % LANES == 0 for product in products for side in product.shape)
        )

    def __call__(
        self, ids: Tensor, places: Sequence[tuple[KVCache, int]], logit_rows: Sequence[int]
    ) -> Tensor:
        """Return float32 logits (len(logit_rows), vocab) and write a row per id to its cache.

        `ids` is (n,) of int64. `places` gives the cache and the position of each id. `logit_rows`
        are the indexes of the ids whose logits are needed.
        """
        rows = [(self._pointers_of(cache), position) for cache, position in places]
        return self._native.step(self._model, ids.contiguous(), rows, logit_rows)

    def _pointers_of(self, cache: KVCache) -> CachePointers:
        """Return the addresses of a cache's buffers. They change when the cache grows."""
        entry = self._pointers.get(cache)
        if entry is None or entry[0] is not cache.keys:
            entry = self._pointers[cache] = (cache.keys, cache_pointers(cache.keys, cache.values))
        return entry[1]


def _model_parts(weights: Weights) -> ModelParts:
    architecture, head = weights.architecture, _matrix(weights.head)
    return ModelParts(
        heads=architecture.heads,
        kv_heads=architecture.kv_heads,
        head_dim=architecture.head_dim,
        inner=architecture.inner,
        activation=_ACTIVATIONS[architecture.activation],
        is_gated=architecture.is_gated,
        cache_dtype=weights.dtype,
        epsilon=architecture.epsilon,
        attention_scale=architecture.attention_scale,
        embedding_scale=architecture.embedding_scale,
        residual_scale=architecture.residual_scale,
        logit_scale=architecture.logit_scale,
        layers=[_layer(layer) for layer in weights.layers],
        last_norm=_norm(weights.last_norm),
        tokens=head if weights.tokens is weights.head else _table(weights.tokens),
        head=head,
        positions=None if weights.positions is None else weights.positions.contiguous(),
        rotations=weights.rotations,
    )


def _layer(layer: Layer) -> LayerParts:
    products = {str(name): _matrix(layer.products[name]) for name in PRODUCTS}
    return LayerParts(
        norm_1=_norm(layer.norm_1),
        norm_2=_norm(layer.norm_2),
        query_norm=None if layer.query_norm is None else layer.query_norm.weight,
        key_norm=None if layer.key_norm is None else layer.key_norm.weight,
        window=layer.window,
        **products,
    )


def _norm(norm: Norm) -> NormParts:
    return norm.weight, norm.bias


def _table(tokens: Table) -> NativeMatrix:
    if isinstance(tokens, Quantised):
        return tokens.native_matrix
    assert isinstance(tokens, Dense)
    return matrix(
        kind_of(tokens.weight.dtype), tokens.shape, tokens.weight.contiguous(), None, None
    )


def _matrix(product: Product) -> NativeMatrix:
    if isinstance(product, Quantised):
        return product.native_matrix
    assert isinstance(product, Dense)
    weight = product.weight.contiguous()
    if weight.dtype == torch.bfloat16:
        return matrix(BF16_DOT, product.shape, weight, None, product.bias)
    narrow = weight.bfloat16()
    if torch.equal(narrow.to(weight.dtype), weight):
        return matrix(BF16, product.shape, narrow, None, product.bias)
    return matrix(FLOAT, product.shape, weight, None, product.bias)
