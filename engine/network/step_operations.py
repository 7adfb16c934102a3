"""The operations of a static step besides its matrix products: norms and attention.

`TorchOperations` computes them with torch on any device. `TritonOperations` needs a tenth of the
number of kernels on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.kv_cache.arena import Arena
from engine.network.attention import split_heads
from engine.network.batch import DECODE_ROWS, Bucket
from engine.network.weights import Layer, Norm, Weights

log = logging.getLogger(__name__)

Attend = Callable[[Tensor, Tensor, Layer], Tensor]
"""A function of the queries, keys and values of a layer, its cache rows, and its weights.

The first is (n, (heads + 2 * kv_heads) * dim), the cache rows are (2, kv_heads, rows, dim). It
writes keys and values there, and returns the attention output (n, heads * dim).
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
        total = hidden if addition is None else self._weights.add(hidden, addition)
        return total, norm(total)

    def attention(self, bucket: Bucket, inputs: Tensor) -> Attend:
        """See `StepOperations`."""
        places, positions, bases = inputs.unbind()
        index = self._columns(bucket, positions, bases[: bucket.sequences])
        windows = dict.fromkeys(layer.window for layer in self._weights.layers)
        masks = {window: _mask(bucket, positions, window) for window in windows}
        table = self._weights.rotations
        rotations = None if table is None else table[positions]

        def attend(mixed: Tensor, rows: Tensor, layer: Layer) -> Tensor:
            query, keys, values = split_heads(mixed, self._weights, layer, rotations)
            rows.index_copy_(2, places, torch.stack([keys, values]).transpose(1, 2))
            return self._attend(query, rows, index, masks[layer.window], bucket)

        return attend

    def _columns(self, bucket: Bucket, positions: Tensor, bases: Tensor) -> Tensor:
        """Return the arena rows (2 * kv_heads * sequences * columns,) that the attention reads."""
        columns = torch.arange(bucket.columns, device=positions.device)
        is_empty = columns > positions.view(bucket.sequences, -1, 1).amax(1)
        rows = (bases[:, None] + columns).masked_fill_(is_empty, self._arena.zero_row).flatten()
        _, _, kv_heads, num_rows, _ = self._arena.rows.shape
        starts = torch.arange(2 * kv_heads, device=positions.device) * num_rows
        return (starts[:, None] + rows).flatten()

    def _attend(
        self, query: Tensor, rows: Tensor, index: Tensor, mask: Tensor, bucket: Bucket
    ) -> Tensor:
        """Return the attention output (n, heads * dim) over a layer's `rows`.

        `query` is (n, heads, dim).
        """
        _, kv_heads, _, dim = rows.shape
        gathered = rows.view(-1, dim).index_select(0, index)
        shape = (2, kv_heads, bucket.sequences, bucket.columns, dim)
        keys, values = gathered.view(shape).unbind()
        # The heads of a sequence's queries are rows of one matrix, as in network/attention.py.
        grouped = query.reshape(bucket.sequences, bucket.rows, kv_heads, -1, dim)
        by_head = grouped.permute(2, 0, 1, 3, 4).reshape(kv_heads, bucket.sequences, -1, dim)
        scores = by_head @ keys.mT
        by_query = scores.view(kv_heads, bucket.sequences, bucket.rows, -1, bucket.columns)
        scale = self._weights.architecture.attention_scale
        shares = torch.add(mask, by_query, alpha=scale).softmax(-1).view_as(scores)
        output = (shares.to(values.dtype) @ values).view(kv_heads, bucket.num_rows, -1, dim)
        return output.transpose(0, 1).reshape(bucket.num_rows, -1)


def _mask(bucket: Bucket, positions: Tensor, window: int | None) -> Tensor:
    """Return the mask (sequences, rows, 1, columns) to add to scores: 0 or minus infinity."""
    by_row = positions.view(bucket.sequences, bucket.rows, 1)
    columns = torch.arange(bucket.columns, device=positions.device)
    is_hidden = columns > by_row
    if window is not None:
        is_hidden |= columns <= by_row - window
    mask = torch.zeros(is_hidden.shape, device=positions.device)
    return mask.masked_fill_(is_hidden, -torch.inf)[:, :, None]


class TritonOperations:
    """Operations of `engine.kernels.triton_step`."""

    def __init__(self, weights: Weights, kernels: ModuleType) -> None:
        self._weights, self._kernels = weights, kernels

    def add_norm(
        self, hidden: Tensor, addition: Tensor | None, norm: Norm
    ) -> tuple[Tensor, Tensor]:
        """See `StepOperations`."""
        scale = self._weights.architecture.residual_scale
        result: tuple[Tensor, Tensor] = self._kernels.add_norm(
            hidden, addition, norm.weight, norm.bias, norm.epsilon, scale
        )
        return result

    def attention(self, bucket: Bucket, inputs: Tensor) -> Attend:
        """See `StepOperations`."""

        def attend(mixed: Tensor, rows: Tensor, layer: Layer) -> Tensor:
            output: Tensor = self._kernels.attend(
                mixed, rows, inputs, self._heads(layer), bucket.columns, bucket.rows
            )
            return output

        return attend

    def _heads(self, layer: Layer) -> Any:
        architecture = self._weights.architecture
        return self._kernels.Heads(
            heads=architecture.heads,
            scale=architecture.attention_scale,
            rotations=self._weights.rotations,
            query_norm=None if layer.query_norm is None else layer.query_norm.weight,
            key_norm=None if layer.key_norm is None else layer.key_norm.weight,
            epsilon=architecture.epsilon,
            window=layer.window,
        )

    def prepare(self) -> None:
        """Compile the kernels for the model, for steps of one row.

        The first time on a machine, that takes some seconds. Raises RuntimeError for a GPU that is
        too old, and any exception of Triton if compiling fails.
        """
        weights, architecture = self._weights, self._weights.architecture
        self._kernels.check_device(weights.device)
        zeros = partial(torch.zeros, dtype=weights.dtype, device=weights.device)
        layer, hidden = weights.layers[0], zeros((1, weights.width))
        self.add_norm(hidden, None, layer.norm_1)
        self.add_norm(hidden, hidden, layer.norm_1)
        kv_heads, dim = architecture.kv_heads, architecture.head_dim
        mixed = zeros((1, architecture.query_width + 2 * architecture.kv_width))
        cache = zeros((2, kv_heads, 1, dim))
        # As aligned as in a step.
        inputs = torch.zeros(3, DECODE_ROWS, dtype=torch.int64, device=weights.device)
        self.attention(Bucket(1, 1, 1), inputs[:, :1])(mixed, cache, layer)


def step_operations(weights: Weights, arena: Arena) -> StepOperations:
    """Return the fastest operations that work on the model's device."""
    if weights.device.type == "cuda":
        try:
            # Triton is not part of every torch build, and it is slow to import.
            from engine.kernels import triton_step

            operations = TritonOperations(weights, triton_step)
            operations.prepare()
        except Exception as error:  # Triton raises many kinds: no compiler, no driver, and others
            log.warning("Decoding is slower, because Triton's kernels cannot be used: %s", error)
        else:
            return operations
    return TorchOperations(weights, arena)
