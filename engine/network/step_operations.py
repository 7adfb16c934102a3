"""The operations of a static step besides its matrix products: norms and attention.

`TorchOperations` computes them with torch on any device. `TritonOperations` needs a tenth of the
number of kernels on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from engine.kv_cache.arena import Arena
from engine.network.batch import Bucket
from engine.network.weights import Norm, Weights

log = logging.getLogger(__name__)

Attend = Callable[[Tensor, Tensor], Tensor]
"""A function of the queries, keys and values of a layer (n, width + 2 * dim) and its cache rows.

The cache rows are (2, rows, dim). It writes keys and values there, and returns the attention output
(n, width).
"""


class StepOperations(Protocol):
    """Norms and attention of a step with static shapes. Nothing in them waits for the host."""

    def add_norm(
        self, hidden: Tensor, addition: Tensor | None, norm: Norm
    ) -> tuple[Tensor, Tensor]:
        """Return hidden + addition and its norm, both (n, width)."""
        ...

    def attention(self, bucket: Bucket, inputs: Tensor) -> Attend:
        """Return the attention of a step for all layers.

        `inputs` (3, n) are the arena row that each row writes, its position, and the first arena
        row of its sequence.
        """
        ...


class TorchOperations:
    """Operations of torch.

    A column for which a sequence has no row yet reads the arena's zero row, not old content of a
    slot: the weight of a masked column is 0, and 0 times a NaN in an old row would be NaN.
    """

    def __init__(self, weights: Weights, arena: Arena) -> None:
        self._weights, self._arena = weights, arena

    def add_norm(
        self, hidden: Tensor, addition: Tensor | None, norm: Norm
    ) -> tuple[Tensor, Tensor]:
        """See `StepOperations`."""
        total = hidden if addition is None else hidden + addition
        return total, norm(total)

    def attention(self, bucket: Bucket, inputs: Tensor) -> Attend:
        """See `StepOperations`."""
        weights = self._weights
        places, positions, bases = inputs.unbind()
        index, mask = self._columns(bucket, positions, bases[: bucket.sequences])

        def attend(mixed: Tensor, rows: Tensor) -> Tensor:
            both = mixed[:, weights.width :].reshape(bucket.num_rows, 2, weights.head_dim)
            rows.index_copy_(1, places, both.transpose(0, 1))
            return self._attend(mixed[:, : weights.width], rows, index, mask, bucket)

        return attend

    def _columns(self, bucket: Bucket, positions: Tensor, bases: Tensor) -> tuple[Tensor, Tensor]:
        """Return the arena rows that the attention reads, and the mask to add to its scores.

        The rows are (2 * sequences * columns,), for keys and values. The mask is (sequences, rows,
        1, columns) and contains 0 and minus infinity.
        """
        by_row = positions.view(bucket.sequences, bucket.rows, 1)
        columns = torch.arange(bucket.columns, device=positions.device)
        is_empty = columns > by_row.amax(1)
        keys = (bases[:, None] + columns).masked_fill_(is_empty, self._arena.zero_row).flatten()
        index = torch.cat([keys, keys + self._arena.rows.shape[2]])
        is_future = columns > by_row
        mask = torch.zeros(is_future.shape, device=is_future.device)
        return index, mask.masked_fill_(is_future, -torch.inf)[:, :, None]

    def _attend(
        self, query: Tensor, rows: Tensor, index: Tensor, mask: Tensor, bucket: Bucket
    ) -> Tensor:
        """Return the attention output (num_rows, width) over a layer's `rows` (2, rows, dim)."""
        heads, dim = self._weights.heads, self._weights.head_dim
        gathered = rows.view(-1, dim).index_select(0, index)
        keys, values = gathered.view(2, bucket.sequences, bucket.columns, dim).unbind()
        # The heads of a sequence's queries are rows of one matrix, as in network/attention.py.
        by_head = query.reshape(bucket.sequences, bucket.rows * heads, dim)
        scores = (by_head @ keys.mT).view(bucket.sequences, bucket.rows, heads, bucket.columns)
        shares = torch.add(mask, scores, alpha=self._weights.scale).softmax(-1).flatten(1, 2)
        return (shares.to(values.dtype) @ values).view(bucket.num_rows, heads * dim)


class TritonOperations:
    """Operations of `engine.kernels.triton_step`."""

    def __init__(self, weights: Weights, kernels: ModuleType) -> None:
        self._weights, self._kernels = weights, kernels

    def add_norm(
        self, hidden: Tensor, addition: Tensor | None, norm: Norm
    ) -> tuple[Tensor, Tensor]:
        """See `StepOperations`."""
        result: tuple[Tensor, Tensor] = self._kernels.add_norm(
            hidden, addition, norm.weight, norm.bias, norm.epsilon
        )
        return result

    def attention(self, bucket: Bucket, inputs: Tensor) -> Attend:
        """See `StepOperations`."""
        weights = self._weights

        def attend(mixed: Tensor, rows: Tensor) -> Tensor:
            output: Tensor = self._kernels.attend(
                mixed, rows, inputs, weights.heads, weights.scale, bucket.columns, bucket.rows
            )
            return output

        return attend


def step_operations(weights: Weights, arena: Arena) -> StepOperations:
    """Return the fastest operations that work on the model's device."""
    if weights.device.type == "cuda":
        kernels = _triton_step(weights)
        if kernels is not None:
            return TritonOperations(weights, kernels)
    return TorchOperations(weights, arena)


def _triton_step(weights: Weights) -> ModuleType | None:
    """Return the Triton kernels, compiled for the model; None if they cannot be used."""
    try:
        # Triton is not part of every torch build, and it is slow to import.
        from engine.kernels import triton_step

        triton_step.prepare(weights.width, weights.heads, weights.dtype, weights.device)
    except Exception as error:  # Triton raises many kinds: no compiler, no driver, and others
        log.warning("Decoding is slower, because Triton's kernels cannot be used: %s", error)
        return None
    return triton_step
