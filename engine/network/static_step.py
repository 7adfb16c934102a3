"""A decoding step in static shapes: the same operations on the same addresses for every step of a
bucket, so that they can be recorded once and replayed (`engine.network.cuda_graphs`).

A step has a few rows: the next id and guesses of one sequence, or those of several. It is padded to
a bucket. What differs from step to step lies in one small tensor of inputs: ids, where their keys
and values go, positions, and where each sequence's rows begin in the arena. Nothing in between asks
the host.

Columns that a sequence has no row for yet read the arena's row of zeros, not what a slot held
before: a masked share is 0, and 0 times the NaN of some stale row would be NaN. Padded rows write
to the scratch row, and what they compute is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.decoding.sequence import Part
from engine.kv_cache.arena import Arena
from engine.network.weights import Weights

MOST_ROWS = 32
"""Of a step; what has more is a prefill, and bound by arithmetic."""

_ROWS = (1, 2, 4, 8, 16, MOST_ROWS)
_SHORTEST = 256
"""Columns of the shortest bucket."""


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """The shapes of a step."""

    columns: int
    """Rows of each sequence that are looked at."""
    sequences: int
    rows: int
    """Of each sequence."""

    @property
    def count(self) -> int:
        """Rows of the step."""
        return self.sequences * self.rows


def buckets(window: int) -> list[Bucket]:
    """Return all there are, the smallest first: rows of one sequence, or single rows of several.

    Rows and columns are powers of two, so that little is padded and few are to be recorded: 66 for
    a window of 8,192. Weights take most of a step, and padding does not touch those.
    """
    shapes = [(1, rows) for rows in _ROWS] + [(rows, 1) for rows in _ROWS[1:]]
    return [Bucket(columns, *shape) for columns in _columns(window) for shape in shapes]


def _columns(window: int) -> list[int]:
    found = []
    columns = _SHORTEST
    while columns < window:
        found.append(columns)
        columns *= 2
    return [*found, window]


class StaticStep:
    """The network for a few rows over an arena, without adapters."""

    def __init__(self, weights: Weights, arena: Arena) -> None:
        self._weights, self._arena = weights, arena
        self._columns = _columns(arena.shape.capacity)
        self._inputs = torch.zeros(4, MOST_ROWS, dtype=torch.int64, device=weights.device)
        """Rows: ids, places, positions, bases."""
        size = MOST_ROWS, weights.tokens.shape[0]
        self._logits = torch.zeros(size, dtype=torch.float32, device=weights.device)

    def put(self, parts: Sequence[Part]) -> Bucket:
        """Set the inputs and return their bucket; the copy to the device is not waited for.

        The parts' caches are slots of the arena, their rows at most MOST_ROWS. No parts at all are
        padding, which any bucket may be computed with. Raises ValueError beyond a window.
        """
        inputs = _Inputs(self._arena)
        for part in parts:
            inputs.add(part)
        count = next(one for one in _ROWS if one >= len(inputs.ids))
        columns = next(one for one in self._columns if one >= inputs.columns)
        # The allocator of pinned memory keeps it until the copy is through.
        pinned = self._inputs.device.type == "cuda"
        made = torch.tensor(inputs.padded(), dtype=torch.int64, pin_memory=pinned)
        self._inputs.copy_(made, non_blocking=True)
        return Bucket(columns, count, 1) if len(parts) > 1 else Bucket(columns, 1, count)

    def logits(self, rows: int) -> Tensor:
        """Return a copy of what the last step said of its first rows: (rows, vocab) in float32."""
        return self._logits[:rows].clone()

    def compute(self, bucket: Bucket) -> None:
        """Compute what the inputs say: write keys, values, logits. Never waits for the device."""
        held = self._weights
        ids, places, positions, bases = self._inputs[:, : bucket.count].unbind()
        index, mask = self._seen(bucket, positions, bases[: bucket.sequences])
        hidden = held.tokens.rows(ids).to(held.dtype) + held.positions[positions]
        for layer, rows in zip(held.layers, self._arena.rows, strict=True):
            mixed = layer.products["attn.c_attn"](layer.norm_1(hidden))
            both = mixed[:, held.width :].reshape(bucket.count, 2, held.head_dim)
            rows.index_copy_(1, places, both.transpose(0, 1))
            seen = self._attend(mixed[:, : held.width], rows, index, mask, bucket)
            hidden = hidden + layer.products["attn.c_proj"](seen)
            inner = held.activation(layer.products["mlp.c_fc"](layer.norm_2(hidden)))
            hidden = hidden + layer.products["mlp.c_proj"](inner)
        self._logits[: bucket.count] = held.head(held.last_norm(hidden))

    def _seen(self, bucket: Bucket, positions: Tensor, bases: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows of a layer are looked at, and what is added to their scores.

        (2 * sequences * columns,) for keys and values, and (sequences, rows, 1, columns) of 0 and
        minus infinity.
        """
        by_row = positions.view(bucket.sequences, bucket.rows, 1)
        columns = torch.arange(bucket.columns, device=positions.device)
        beyond = columns > by_row.amax(1)
        keys = (bases[:, None] + columns).masked_fill_(beyond, self._arena.zero_row).flatten()
        index = torch.cat([keys, keys + self._arena.rows.shape[2]])
        later = columns > by_row
        mask = torch.zeros(later.shape, device=later.device).masked_fill_(later, -torch.inf)
        return index, mask[:, :, None]

    def _attend(
        self, query: Tensor, rows: Tensor, index: Tensor, mask: Tensor, bucket: Bucket
    ) -> Tensor:
        """Return what each query sees, (count, width), of a layer's `rows` (2, rows, head_dim)."""
        heads, dim = self._weights.heads, self._weights.head_dim
        found = rows.view(-1, dim).index_select(0, index)
        keys, values = found.view(2, bucket.sequences, bucket.columns, dim).unbind()
        # The heads of a sequence's queries are rows of one matrix, as in
        # `engine.network.attention`.
        by_head = query.reshape(bucket.sequences, bucket.rows * heads, dim)
        scores = (by_head @ keys.mT).view(bucket.sequences, bucket.rows, heads, bucket.columns)
        shares = torch.add(mask, scores, alpha=self._weights.scale).softmax(-1).flatten(1, 2)
        return (shares.to(values.dtype) @ values).view(bucket.count, heads * dim)


class _Inputs:
    """What a step is told, as it is put together."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.ids: list[int] = []
        self.columns = 1
        """Rows of the longest sequence, with those of the step."""
        self._places: list[int] = []
        self._positions: list[int] = []
        self._bases: list[int] = []
        """Of the first sequence, or of each row where there are several."""

    def add(self, part: Part) -> None:
        """Add the rows of a sequence; raises ValueError beyond its window."""
        assert part.cache.slot is not None
        base, start = part.cache.slot.base, len(part.cache.ids)
        end = start + len(part.ids)
        part.cache.reserve(end)
        self.ids += part.ids
        self.columns = max(self.columns, end)
        self._places += range(base + start, base + end)
        self._positions += range(start, end)
        self._bases += [base] * len(part.ids)

    def padded(self) -> list[list[int]]:
        """Return the inputs at full length."""
        scratch = self._arena.scratch_row
        rows = (self.ids, 0), (self._places, scratch), (self._positions, 0), (self._bases, scratch)
        return [[*row, *[padding] * (MOST_ROWS - len(row))] for row, padding in rows]
