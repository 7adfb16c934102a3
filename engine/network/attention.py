"""Attention over the rows of one KV cache.

A key/value head serves one or more query heads: all of them in multi-query attention (Shazeer 2019,
arXiv:1911.02150), some in grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.native import Native
from engine.network.rotary import rotate
from engine.network.weights import Layer, Weights

_MAX_QUERIES = 16
"""Number of queries up to which two plain matrix products are faster than fused attention."""


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    mask: Tensor | None,
    native: Native | None = None,
    window: int | None = None,
) -> Tensor:
    """Return the attention output (n, heads * dim) of the last n rows of a sequence.

    `query` is (n, heads * dim). `keys` and `values` are (kv_heads, rows, dim). `mask` is the result
    of `causal_mask` for the same `window`. `native` are the compiled CPU kernels, None without
    them.
    """
    count, dim = query.shape[0], keys.shape[2]
    if count <= _MAX_QUERIES:
        return _attend_few(query, keys, values, scale, mask)
    if native is not None and keys.device.type == "cpu" and native.can_attend(keys):
        return native.attend(query, keys, values, scale, window)
    kv_heads, rows, _ = keys.shape
    # Each key/value head is an entry of a batch. Its queries share the same keys without a copy.
    by_head = query.view(count, kv_heads, -1, dim).permute(1, 2, 0, 3)
    shape = (kv_heads, by_head.shape[1], rows, dim)
    output = functional.scaled_dot_product_attention(
        by_head,
        keys[:, None].expand(shape),
        values[:, None].expand(shape),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
    )
    return output.permute(2, 0, 1, 3).reshape(count, -1)


def _attend_few(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None
) -> Tensor:
    """Compute `attend` as two products per key/value head.

    The query heads of all queries that share a key/value head are rows of one matrix.
    """
    count, (kv_heads, rows, dim) = query.shape[0], keys.shape
    by_head = query.view(count, kv_heads, -1, dim).transpose(0, 1)
    scores = (by_head.reshape(kv_heads, -1, dim) @ keys.mT).float()
    if mask is None:
        weights = (scores * scale).softmax(-1)
    else:
        scores_by_query = scores.view(kv_heads, count, -1, rows)
        weights = torch.add(mask, scores_by_query, alpha=scale).softmax(-1).view_as(scores)
    output = weights.to(values.dtype) @ values
    return output.view(kv_heads, count, -1, dim).transpose(0, 1).reshape(count, -1)


def split_heads(
    mixed: Tensor, weights: Weights, layer: Layer, rotations: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (n, heads, dim), keys and values (n, kv_heads, dim) of a layer.

    `mixed` (n, (heads + 2 * kv_heads) * dim) is the layer's first product. Queries and keys are
    normalized and rotated, if the model does so. `rotations` (n, dim) are those of the rows'
    positions.
    """
    architecture = weights.architecture
    by_head = mixed.view(len(mixed), -1, architecture.head_dim)
    sizes = [architecture.heads, architecture.kv_heads, architecture.kv_heads]
    query, keys, values = torch.split(by_head, sizes, dim=1)
    if layer.query_norm is not None and layer.key_norm is not None:
        query, keys = layer.query_norm(query), layer.key_norm(keys)
    if rotations is not None:
        query, keys = rotate(query, rotations), rotate(keys, rotations)
    return query, keys, values


class CausalMasks:
    """The masks of one step for a sequence: one for each size of window among the layers."""

    def __init__(self, start: int, count: int, device: torch.device) -> None:
        """Create the masks of `count` queries from position `start` on."""
        self._arguments = start, count, device
        self._masks: dict[int | None, Tensor | None] = {}

    def of(self, window: int | None) -> Tensor | None:
        """Return the mask of a layer whose queries see `window` positions, None for all."""
        start, count, _ = self._arguments
        if window is not None and start + count <= window:
            window = None
        if window not in self._masks:
            self._masks[window] = causal_mask(*self._arguments, window)
        return self._masks[window]


def causal_mask(
    start: int, count: int, device: torch.device, window: int | None = None
) -> Tensor | None:
    """Return the mask that `attend` needs for `count` queries from position `start` on.

    A query sees `window` positions up to its own, or all. The result is None if no mask is needed:
    a single query sees every row, and many queries from position 0 on use the built-in causal mask.
    """
    if window is None:
        if count == 1 or (start == 0 and count > _MAX_QUERIES):
            return None
        if device.type == "cuda" and count > _MAX_QUERIES:
            from torch.nn.attention.bias import causal_lower_right  # no CPU needs it

            return causal_lower_right(count, start + count)  # flash attention needs no mask for it
    positions = torch.arange(start, start + count, device=device)[:, None]
    columns = torch.arange(start + count, device=device)
    visible = columns <= positions
    if window is not None:
        visible &= columns > positions - window
    if count > _MAX_QUERIES:
        return visible
    return torch.zeros(count, 1, start + count, device=device).masked_fill_(
        ~visible[:, None], -torch.inf
    )
