"""A decoding step with static shapes, so that it can be recorded once and replayed.

Every step of a bucket runs the same operations on the same addresses; `engine.network.cuda_graphs`
records them. A step has a few rows: the next token and draft tokens of one sequence, or single
tokens of several. It is padded to the size of its bucket. All that differs from step to step is in
one small input tensor: token ids, rows of the arena to write, positions, and the first row of each
sequence. No operation in between waits for the host.

A column for which a sequence has no row yet reads the arena's zero row, not old content of a slot:
the weight of a masked column is 0, and 0 times a NaN in an old row would be NaN. Padding writes to
the scratch row, and its results are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kv_cache.arena import Arena
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.weights import Weights

_ROWS = (1, 2, 4, 8, 16, DECODE_ROWS)
"""Numbers of rows to which a step is padded."""
_MIN_COLUMNS = 256
"""Number of columns of the smallest bucket."""


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """The shapes of a step."""

    columns: int
    """Number of cache rows of each sequence that the attention reads."""
    sequences: int
    """Number of sequences."""
    rows: int
    """Number of rows per sequence."""

    @property
    def num_rows(self) -> int:
        """Number of rows of the whole step."""
        return self.sequences * self.rows


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
        weights = self._weights
        ids, places, positions, bases = self._inputs[:, : bucket.num_rows].unbind()
        index, mask = self._columns(bucket, positions, bases[: bucket.sequences])
        hidden = weights.tokens.rows(ids).to(weights.dtype) + weights.positions[positions]
        for layer, rows in zip(weights.layers, self._arena.rows, strict=True):
            mixed = layer.products["attn.c_attn"](layer.norm_1(hidden))
            both = mixed[:, weights.width :].reshape(bucket.num_rows, 2, weights.head_dim)
            rows.index_copy_(1, places, both.transpose(0, 1))
            attention = self._attend(mixed[:, : weights.width], rows, index, mask, bucket)
            hidden = hidden + layer.products["attn.c_proj"](attention)
            inner = weights.activation(layer.products["mlp.c_fc"](layer.norm_2(hidden)))
            hidden = hidden + layer.products["mlp.c_proj"](inner)
        self._logits[: bucket.num_rows] = weights.head(weights.last_norm(hidden))

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
