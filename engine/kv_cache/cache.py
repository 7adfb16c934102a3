"""The KV cache: keys and values of the ids seen, in buffers that grow in blocks, or in a slot.

StarCoder's learned positions are absolute, so a cached row is good only at the place where it was
computed: what can be reused of an earlier request is exactly the longest common prefix of ids.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.network.lora import Adapter

BLOCK = 256
"""Rows by which a cache grows."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Sizes of a cache."""

    capacity: int
    """Rows that it can grow to, one a token: the context window."""
    kv_heads: int
    """1 in a multi-query model."""
    head_dim: int
    devices: tuple[torch.device, ...]
    """Where each layer is."""
    dtype: torch.dtype

    @property
    def bytes_a_row(self) -> int:
        """What the keys and values of one token take."""
        return 2 * len(self.devices) * self.kv_heads * self.head_dim * self.dtype.itemsize

    def rows(self, wanted: int) -> int:
        """Return `wanted` rows rounded up to whole blocks, within the capacity."""
        return min(self.capacity, -(-wanted // BLOCK) * BLOCK)


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one full window that never moves; see `engine.kv_cache.arena`."""

    base: int
    """Where its first row is among those of the arena."""
    rows: Tensor
    """Keys and values: (layers, 2, kv_heads, capacity, head_dim)."""


class KVCache:
    """Keys and values of one sequence, each layer (kv_heads, rows, head_dim).

    `ids` names what the rows hold, and `adapter` what computed them beside the model. Rows beyond
    `len(ids)` are not defined: whoever writes rows calls `commit` once they are all there, so a
    step that fails in between leaves no false claim.
    """

    def __init__(
        self, shape: CacheShape, adapter: Adapter | None = None, slot: Slot | None = None
    ) -> None:
        """With a slot it has room for the whole window at once; else it grows as rows come."""
        self.shape = shape
        self.adapter = adapter
        self.slot = slot
        self.ids = array("i")
        self.rows = 0
        """Rows there is room for now."""
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._buffers: dict[torch.device, Tensor] = {}
        if slot is not None:
            self._lie_in({slot.rows.device: slot.rows}, shape.capacity)

    @property
    def bytes(self) -> int:
        """What the buffers take now."""
        return self.rows * self.shape.bytes_a_row

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all. The committed ones stay; views of others go stale.

        Raises ValueError beyond the capacity, torch.OutOfMemoryError or RuntimeError where memory
        ends; the cache is then as it was.
        """
        if rows <= self.rows:
            return
        if rows > self.shape.capacity:
            raise ValueError(f"{rows} rows in a cache of at most {self.shape.capacity}")
        self._grow(self.shape.rows(rows), self._buffers, len(self.ids))

    def copy_prefix(self, other: KVCache, rows: int) -> None:
        """Become a copy of the first committed rows of `other`, in room that is there already."""
        for device, buffer in self._buffers.items():
            buffer[:, :, :, :rows] = other._buffers[device][:, :, :, :rows]
        self.ids = other.ids[:rows]

    def reuse(self, prompt: Sequence[int]) -> int:
        """Keep the rows that `prompt` begins with; return how many.

        At least the last id of the prompt is left to compute, since its logits are wanted.
        """
        shared = min(common_prefix(self.ids, array("i", prompt)), len(prompt) - 1)
        del self.ids[shared:]
        return shared

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write rows from `start`, (kv_heads, n, head_dim); return all rows up to their end.

        There must be room for them.
        """
        end = start + keys.shape[1]
        self.keys[layer][:, start:end] = keys
        self.values[layer][:, start:end] = values
        return self.keys[layer][:, :end], self.values[layer][:, :end]

    def commit(self, ids: Iterable[int]) -> None:
        """Say that the rows after the present ones now hold `ids`."""
        self.ids.extend(ids)

    def _grow(self, rows: int, old: dict[torch.device, Tensor], kept: int) -> None:
        shape, places = self.shape, self.shape.devices
        made: dict[torch.device, Tensor] = {}
        for device in dict.fromkeys(places):
            size = (places.count(device), 2, shape.kv_heads, rows, shape.head_dim)
            made[device] = torch.empty(size, dtype=shape.dtype, device=device)
            if kept:
                made[device][:, :, :, :kept] = old[device][:, :, :, :kept]
        self._lie_in(made, rows)

    def _lie_in(self, buffers: dict[torch.device, Tensor], rows: int) -> None:
        places = self.shape.devices
        at = dict.fromkeys(places, 0)
        self.keys, self.values = [], []
        for device in places:
            keys, values = buffers[device][at[device]].unbind(0)
            self.keys.append(keys)
            self.values.append(values)
            at[device] += 1
        self._buffers, self.rows = buffers, rows


def common_prefix(a: array[int], b: array[int]) -> int:
    """Return how many ids two sequences begin with alike."""
    # By halves, comparing bytes: some microseconds for thousands of ids.
    low, high = 0, min(len(a), len(b))
    of_a, of_b, size = a.tobytes(), b.tobytes(), a.itemsize
    while low < high:
        middle = (low + high + 1) // 2
        if of_a[low * size : middle * size] == of_b[low * size : middle * size]:
            low = middle
        else:
            high = middle - 1
    return low
