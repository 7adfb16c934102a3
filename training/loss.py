"""Cross-entropy with tied embeddings, without all logits in memory.

The logits of 8,192 tokens and 8,192 ids need 268 MB in float32, and a training step would read or
write them six times. Here one slice of logits at a time is computed, turned into its gradient and
freed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, NestedIOFunction
from torch.nn import functional

_SLICE = 1024
"""Number of tokens whose logits are in memory at a time on a CPU."""
_CUDA_SLICE = 8192
"""Maximum number of tokens whose logits are in memory at a time on a GPU."""
_ALIGNMENT = 64
"""On a GPU the number of ids is padded to a multiple of this: matrix products are faster then."""

SliceFunction = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""A function such as `slice_gradient`."""


def slice_gradient(
    logits: Tensor, labels: Tensor, weights: Tensor, num_ids: int
) -> tuple[Tensor, Tensor]:
    """Return the loss of a slice and its gradient with respect to the logits, in their dtype.

    logits (tokens, ids or more), labels and weights (tokens, 1). Columns from `num_ids` on are
    padding. This form is for a compiler that fuses it; in single operations `in_place_gradient` is
    faster.
    """
    values, columns = logits.float(), torch.arange(logits.shape[1], device=logits.device)
    values = torch.where(columns < num_ids, values, float("-inf"))
    highest = values.amax(1, keepdim=True)
    exponentials = (values - highest).exp()
    sums = exponentials.sum(1, keepdim=True)
    label_logits = logits.gather(1, labels).float()
    loss = ((highest + sums.log() - label_logits) * weights).sum()
    target = torch.where(columns == labels, weights, 0.0)
    return loss, (exponentials * (weights / sums) - target).to(logits.dtype)


def in_place_gradient(
    logits: Tensor, labels: Tensor, weights: Tensor, num_ids: int
) -> tuple[Tensor, Tensor]:
    """Return the same as `slice_gradient`, in place, because memory traffic dominates the cost."""
    probabilities = logits.float()
    if num_ids < logits.shape[1]:
        probabilities[:, num_ids:] = float("-inf")
    label_logits = probabilities.gather(1, labels)
    highest = probabilities.amax(1, keepdim=True)
    sums = probabilities.sub_(highest).exp_().sum(1, keepdim=True)
    loss = ((highest + sums.log() - label_logits) * weights).sum()
    gradient = probabilities.mul_(weights / sums)
    gradient.scatter_add_(1, labels, -weights)
    return loss, gradient.to(logits.dtype)


def compile_slice_gradient() -> SliceFunction:
    """Return `slice_gradient`, compiled at its first call."""
    return torch.compile(slice_gradient, fullgraph=True, dynamic=False)


def loss_layout(table: Tensor, num_tokens: int, device_type: str) -> tuple[Tensor, int]:
    """Return the embeddings, padded on a GPU, and the number of tokens in a slice.

    On a GPU all slices have equal size if that is possible: another size is compiled again.
    """
    if device_type != "cuda":
        return table, _SLICE
    num_slices = -(-num_tokens // _CUDA_SLICE)
    padded = functional.pad(table, (0, 0, 0, -len(table) % _ALIGNMENT))
    return padded, -(-num_tokens // num_slices)


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        embeddings: Tensor,
        labels: Tensor,
        weights: Tensor,
        function: SliceFunction,
    ) -> Tensor:
        """Return the loss and save its gradients, which are computed in the same pass."""
        num_ids = len(embeddings)
        table, size = loss_layout(embeddings.to(hidden.dtype), len(hidden), hidden.device.type)
        hidden_gradient = torch.empty_like(hidden)
        embedding_gradient = torch.zeros_like(embeddings, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            logits = hidden[rows] @ table.T
            label, weight = labels[rows, None], weights[rows, None].float()
            loss, gradient = function(logits, label, weight, num_ids)
            total += loss
            torch.mm(gradient, table, out=hidden_gradient[rows])
            embedding_gradient += (gradient.T @ hidden[rows])[:num_ids]
        ctx.save_for_backward(hidden_gradient, embedding_gradient)
        return total

    @staticmethod
    def backward(
        ctx: NestedIOFunction, *output_gradients: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the saved gradients, scaled by the gradient of the loss."""
        (output_gradient,) = output_gradients
        hidden_gradient, embedding_gradient = ctx.saved_tensors
        return (
            hidden_gradient * output_gradient.to(hidden_gradient.dtype),
            embedding_gradient * output_gradient,
            None,
            None,
            None,
        )


def weighted_cross_entropy(
    hidden: Tensor,
    embeddings: Tensor,
    labels: Tensor,
    weights: Tensor,
    function: SliceFunction = in_place_gradient,
) -> Tensor:
    """Return the weighted sum of cross-entropies in nats, float32.

    hidden (tokens, width), embeddings (ids, width), labels (tokens) int64 of ids, weights (tokens);
    a token of weight 0 may have any id as its label. Matrix products use the dtype of `hidden`.
    """
    loss: Tensor = _WeightedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, embeddings, labels, weights, function
    )
    return loss
