"""A decoding step with static shapes, so that it can be recorded once and replayed.

Every step of a bucket runs the same operations on the same addresses; `engine.network.cuda_graphs`
records them. A step has a few rows: the next token and draft tokens of one sequence, or single
tokens of several. It is padded to the size of its bucket. All that differs from step to step is in
one small input tensor: token ids, rows of the arena to write, positions, and the first row of each
sequence. No operation in between waits for the host.

Padding writes to the arena's scratch row, and its results are not used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.kv_cache.arena import Arena
from engine.network.batch import DECODE_ROWS, BatchEntry, Bucket
from engine.network.step_operations import step_operations
from engine.network.weights import Weights

_ROWS = (1, 2, 4, 8, 16, DECODE_ROWS)
"""Numbers of rows to which a step is padded."""
_MIN_COLUMNS = 256
"""Number of columns of the smallest bucket."""


def all_buckets(window: int) -> list[Bucket]:
    """Return all buckets, the smallest first: rows of one sequence, or single rows of several.

    Rows and columns are powers of two. This wastes little on padding and keeps the number of
    recordings small: 66 for a context window of 8,192. Padding does not add to reading the weights,
    which takes most of a step.
    """
    shapes = [(1, rows) for rows in _ROWS] + [(rows, 1) for rows in _ROWS[1:]]
    return [Bucket(columns, *shape) for columns in _column_sizes(window) for shape in shapes]


def _column_sizes(window: int) -> list[int]:
    sizes = []
    columns = _MIN_COLUMNS
    while columns < window:
        sizes.append(columns)
        columns *= 2
    return [*sizes, window]


class StaticStep:
    """The network for a few rows over an arena, without adapters."""

    def __init__(self, weights: Weights, arena: Arena) -> None:
        self._weights, self._arena = weights, arena
        self._operations = step_operations(weights, arena)
        self._column_sizes = _column_sizes(arena.shape.capacity)
        self._inputs = torch.zeros(4, DECODE_ROWS, dtype=torch.int64, device=weights.device)
        """Four rows: token ids, arena rows to write, positions, first arena rows."""
        size = DECODE_ROWS, weights.tokens.shape[0]
        self._logits = torch.zeros(size, dtype=torch.float32, device=weights.device)

    def set_inputs(self, entries: Sequence[BatchEntry]) -> Bucket:
        """Set the inputs of the next step and return its bucket.

        The copy to the device is asynchronous. The caches of the entries are slots of the arena,
        with at most `DECODE_ROWS` new rows in total. Without entries the inputs are padding, with
        which any bucket can be computed. Raises ValueError beyond a context window.
        """
        inputs = _StepInputs(self._arena)
        for entry in entries:
            inputs.add(entry)
        num_rows = next(rows for rows in _ROWS if rows >= len(inputs.ids))
        columns = next(size for size in self._column_sizes if size >= inputs.columns)
        # The allocator of pinned memory keeps the tensor until the copy has finished.
        pin_memory = self._inputs.device.type == "cuda"
        host_inputs = torch.tensor(inputs.padded(), dtype=torch.int64, pin_memory=pin_memory)
        self._inputs.copy_(host_inputs, non_blocking=True)
        return Bucket(columns, num_rows, 1) if len(entries) > 1 else Bucket(columns, 1, num_rows)

    def logits(self, num_rows: int) -> Tensor:
        """Return a copy of the float32 logits (num_rows, vocab) of the last step's first rows."""
        return self._logits[:num_rows].clone()

    def compute(self, bucket: Bucket) -> None:
        """Compute the current inputs: write keys, values and logits. This never synchronizes."""
        weights, operations = self._weights, self._operations
        inputs = self._inputs[:, : bucket.num_rows]
        ids, positions = inputs[0], inputs[2]
        attend = operations.attention(bucket, inputs[1:])
        hidden = weights.embed(ids)
        if weights.positions is not None:
            hidden = hidden + weights.positions[positions]
        addition: Tensor | None = None
        for layer, rows in zip(weights.layers, self._arena.rows, strict=True):
            hidden, normed = operations.add_norm(hidden, addition, layer.norm_1)
            attention = attend(layer.products["attention_in"](normed), rows, layer)
            addition = layer.products["attention_out"](attention)
            hidden, normed = operations.add_norm(hidden, addition, layer.norm_2)
            inner = weights.activate(layer.products["mlp_in"](normed))
            addition = layer.products["mlp_out"](inner)
        _, normed = operations.add_norm(hidden, addition, weights.last_norm)
        self._logits[: bucket.num_rows] = weights.logits(normed)


class _StepInputs:
    """The inputs of one step while they are collected."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.ids: list[int] = []
        self.columns = 1
        """Number of rows of the longest sequence, including those of the step."""
        self._places: list[int] = []
        self._positions: list[int] = []
        self._bases: list[int] = []
        """First arena row of the sequence of each row."""

    def add(self, entry: BatchEntry) -> None:
        """Add the rows of a sequence. Raises ValueError beyond its context window."""
        assert entry.cache.slot is not None
        base, start, end = entry.cache.slot.base, entry.start, entry.end
        entry.cache.reserve(end)
        self.ids += entry.ids
        self.columns = max(self.columns, end)
        self._places += range(base + start, base + end)
        self._positions += range(start, end)
        self._bases += [base] * len(entry.ids)

    def padded(self) -> list[list[int]]:
        """Return the inputs, each padded to `DECODE_ROWS` values."""
        scratch = self._arena.scratch_row
        rows = (self.ids, 0), (self._places, scratch), (self._positions, 0), (self._bases, scratch)
        return [[*row, *[padding] * (DECODE_ROWS - len(row))] for row, padding in rows]
