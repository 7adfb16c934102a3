"""Cross-entropy with tied embeddings, without all logits in memory.

The logits of 8,192 tokens and 8,192 ids need 268 MB in float32, and a training step would read or
write them six times. Here one slice of logits at a time is computed, turned into its gradient and
freed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, NestedIOFunction

_SLICE = 1024
"""Number of tokens whose logits are in memory at a time."""


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, embeddings: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Return the loss and save its gradients, which are computed in the same pass."""
        dtype = hidden.dtype
        table = embeddings.to(dtype)
        hidden_gradient = torch.empty_like(hidden)
        embedding_gradient = torch.zeros_like(embeddings, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), _SLICE):
            rows = slice(start, start + _SLICE)
            label, weight = labels[rows, None], weights[rows, None].float()
            # In place from here on, because memory traffic dominates the cost.
            probabilities = (hidden[rows] @ table.T).float()
            label_logits = probabilities.gather(1, label)
            highest = probabilities.amax(1, keepdim=True)
            sums = probabilities.sub_(highest).exp_().sum(1, keepdim=True)
            total -= ((label_logits - highest - sums.log()) * weight).sum()
            gradient = probabilities.mul_(weight / sums)
            gradient.scatter_add_(1, label, -weight)
            gradient = gradient.to(dtype)
            torch.mm(gradient, table, out=hidden_gradient[rows])
            embedding_gradient += gradient.T @ hidden[rows]
        ctx.save_for_backward(hidden_gradient, embedding_gradient)
        return total

    @staticmethod
    def backward(
        ctx: NestedIOFunction, *output_gradients: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        """Return the saved gradients, scaled by the gradient of the loss."""
        (output_gradient,) = output_gradients
        hidden_gradient, embedding_gradient = ctx.saved_tensors
        return (
            hidden_gradient * output_gradient.to(hidden_gradient.dtype),
            embedding_gradient * output_gradient,
            None,
            None,
        )


def weighted_cross_entropy(
    hidden: Tensor, embeddings: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted sum of cross-entropies in nats, float32.

    hidden (tokens, width), embeddings (ids, width), labels (tokens) int64 of ids, weights (tokens);
    a token of weight 0 may have any id as its label. Matrix products use the dtype of `hidden`.
    """
    loss: Tensor = _WeightedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, embeddings, labels, weights
    )
    return loss
