"""Cross-entropy against tied embeddings, without holding all logits.

The logits of 8,192 tokens over 8,192 ids are 268 MB in float32, and a training step would go over
them six times. Here a slice at a time is made, turned into its gradient and dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SLICE = 1024
"""Tokens whose logits exist at a time."""


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, embeddings: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        dtype = hidden.dtype
        table = embeddings.to(dtype)
        to_hidden = torch.empty_like(hidden)
        to_embeddings = torch.zeros_like(embeddings, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), _SLICE):
            chosen = slice(start, start + _SLICE)
            label, weight = labels[chosen, None], weights[chosen, None].float()
            # In place from here on: memory traffic is what this costs.
            probabilities = (hidden[chosen] @ table.T).float()
            of_label = probabilities.gather(1, label)
            highest = probabilities.amax(1, keepdim=True)
            sums = probabilities.sub_(highest).exp_().sum(1, keepdim=True)
            total -= ((of_label - highest - sums.log()) * weight).sum()
            gradient = probabilities.mul_(weight / sums)
            gradient.scatter_add_(1, label, -weight)
            low = gradient.to(dtype)
            torch.mm(low, table, out=to_hidden[chosen])
            to_embeddings += low.T @ hidden[chosen]
        ctx.save_for_backward(to_hidden, to_embeddings)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, None, None]:
        (gradient,) = gradients
        to_hidden, to_embeddings = ctx.saved_tensors
        return to_hidden * gradient.to(to_hidden.dtype), to_embeddings * gradient, None, None


def weighted_cross_entropy(
    hidden: Tensor, embeddings: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted sum of cross-entropies in nats, float32.

    hidden (tokens, width), embeddings (ids, width), labels (tokens) int64 of ids, weights (tokens);
    a token of weight 0 may have any id as its label. Products are in the dtype of `hidden`.
    """
    made: Tensor = _WeightedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, embeddings, labels, weights
    )
    return made
