"""Multi-query attention over the rows of one cache (Shazeer 2019, arXiv:1911.02150)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.build import shared_kernels

_FEW = 16
"""Queries that are faster as rows of one product than by the fused kernel."""


def attend(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None
) -> Tensor:
    """Return what the last n rows of a sequence see, (n, heads * dim).

    `query` is (n, heads * dim); `keys` and `values` (rows, dim), all heads having the same ones;
    `mask` what `causal_mask` returned for it.
    """
    count, dim = query.shape[0], keys.shape[1]
    heads = query.shape[1] // dim
    if count <= _FEW:
        # The heads of a query are rows of one matrix: two small products do it all.
        scores = (query.reshape(count * heads, dim) @ keys.T).float()
        if mask is None:
            shares = (scores * scale).softmax(-1)
        else:
            by_query = scores.view(count, heads, -1)
            shares = torch.add(mask, by_query, alpha=scale).softmax(-1).view(count * heads, -1)
        return (shares.to(values.dtype) @ values).view(count, heads * dim)
    if (
        keys.device.type == "cpu"
        and (native := shared_kernels().ready())
        and native.can_attend(keys)
    ):
        return native.attend(query, keys, values, heads, scale)
    shape = (1, heads, keys.shape[0], dim)
    seen = functional.scaled_dot_product_attention(
        query.view(count, heads, dim).transpose(0, 1)[None],
        keys[None, None].expand(shape),
        values[None, None].expand(shape),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
    )
    return seen[0].transpose(0, 1).reshape(count, heads * dim)


def causal_mask(start: int, count: int, device: torch.device) -> Tensor | None:
    """Return what `attend` needs to know of `count` queries from row `start` on.

    One query sees every row, and many from row 0 on are plainly causal: no mask for either.
    """
    if count == 1 or (start == 0 and count > _FEW):
        return None
    rows = torch.arange(start, start + count, device=device)
    seen = torch.arange(start + count, device=device) <= rows[:, None]
    if count > _FEW:
        return seen
    return torch.zeros(count, 1, start + count, device=device).masked_fill_(
        ~seen[:, None], -torch.inf
    )
