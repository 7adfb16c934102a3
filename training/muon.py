"""Muon for batches of matrices.

The update is that of `torch.optim.Muon` with the original scaling of the learning rate (Jordan et
al. 2024). torch updates one matrix after another, which on a GPU takes mostly launches of kernels.
Here matrices of equal shape are one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5
_EPSILON = 1e-7


class BatchedMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum; matrices of equal shape are updated together.

    The momentum of all matrices of one shape is the state of the first of them.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in matrices:
            by_shape.setdefault(matrix.shape, []).append(matrix)
        groups = [{"params": params} for params in by_shape.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all matrices; a closure is not supported."""
        for group in self.param_groups:
            params, lr = group["params"], group["lr"]
            gradients = torch.stack([param.grad for param in params])
            state = self.state[params[0]]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(gradients)
            state["momentum"].lerp_(gradients, 1 - group["momentum"])
            updates = orthogonalize(gradients.lerp_(state["momentum"], group["momentum"]))
            rows, columns = params[0].shape
            scaled_lr = lr * math.sqrt(max(1, rows / columns))
            for param, update in zip(params, updates, strict=True):
                param.mul_(1 - lr * group["weight_decay"])
                param.add_(update, alpha=-scaled_lr)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return nearly orthogonal matrices (n, rows, columns) in bfloat16: all singular values near 1.

    Newton-Schulz iteration with the coefficients of Jordan et al. 2024.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    result = matrices.bfloat16()
    if is_tall:
        result = result.mT
    norms = result.flatten(1).norm(dim=1).clamp(min=_EPSILON)
    result = result / norms[:, None, None]
    for _ in range(_NUM_ITERATIONS):
        gram = result @ result.mT
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        result = torch.baddbmm(result, update, result, beta=a)
    return result.mT if is_tall else result
