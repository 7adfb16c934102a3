"""Multi-query attention over the rows of one KV cache (Shazeer 2019, arXiv:1911.02150)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.native import Native

_MAX_QUERIES = 16
"""Number of queries up to which two plain matrix products are faster than fused attention."""


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    mask: Tensor | None,
    native: Native | None = None,
) -> Tensor:
    """Return the attention output (n, heads * dim) of the last n rows of a sequence.

    `query` is (n, heads * dim). `keys` and `values` are (rows, dim) and shared by all heads. `mask`
    is the result of `causal_mask`. `native` are the compiled CPU kernels, None without them.
    """
    count, dim = query.shape[0], keys.shape[1]
    heads = query.shape[1] // dim
    if count <= _MAX_QUERIES:
        return _attend_few(query, keys, values, scale, mask)
    if native is not None and keys.device.type == "cpu" and native.can_attend(keys):
        return native.attend(query, keys, values, heads, scale)
    shape = (1, heads, keys.shape[0], dim)
    output = functional.scaled_dot_product_attention(
        query.view(count, heads, dim).transpose(0, 1)[None],
        keys[None, None].expand(shape),
        values[None, None].expand(shape),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
    )
    return output[0].transpose(0, 1).reshape(count, heads * dim)


def _attend_few(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None
) -> Tensor:
    """Compute `attend` as two products: the heads of all queries are rows of one matrix."""
    count, dim = query.shape[0], keys.shape[1]
    heads = query.shape[1] // dim
    scores = (query.reshape(count * heads, dim) @ keys.T).float()
    if mask is None:
        weights = (scores * scale).softmax(-1)
    else:
        scores_by_query = scores.view(count, heads, -1)
        weights = torch.add(mask, scores_by_query, alpha=scale).softmax(-1)
        weights = weights.view(count * heads, -1)
    return (weights.to(values.dtype) @ values).view(count, heads * dim)


def causal_mask(start: int, count: int, device: torch.device) -> Tensor | None:
    """Return the mask that `attend` needs for `count` queries from position `start` on.

    The result is None if no mask is needed: a single query sees every row, and many queries from
    position 0 on use the built-in causal mask.
    """
    if count == 1 or (start == 0 and count > _MAX_QUERIES):
        return None
    if device.type == "cuda" and count > _MAX_QUERIES:
        from torch.nn.attention.bias import causal_lower_right  # no CPU needs it

        return causal_lower_right(count, start + count)  # flash attention needs no mask for it
    positions = torch.arange(start, start + count, device=device)
    visible = torch.arange(start + count, device=device) <= positions[:, None]
    if count > _MAX_QUERIES:
        return visible
    return torch.zeros(count, 1, start + count, device=device).masked_fill_(
        ~visible[:, None], -torch.inf
    )
