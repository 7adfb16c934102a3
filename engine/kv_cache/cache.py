"""The KV cache of one sequence: keys and values of the tokens computed so far.

The rows lie in buffers that grow in blocks, or in a fixed slot of an arena.

Positions are absolute in StarCoder, so a row is valid only at the position for which it was
computed. A new request can reuse exactly the longest common prefix of token ids.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.kv_cache.buffers import BufferShelf, new_buffer

BLOCK = 256
"""Number of rows by which a cache grows."""


class CacheOwner(NamedTuple):
    """The adapter whose forward pass computed a cache's rows.

    Rows of different owners differ for the same token ids, so a cache serves one owner only.
    """

    adapter: str
    """Name of the adapter."""
    changed: float
    """Modification time of the adapter's weights, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Sizes of a KV cache."""

    capacity: int
    """Maximum number of rows, one per token: the context window."""
    kv_heads: int
    """Number of key/value heads; 1 in a multi-query model."""
    head_dim: int
    """Width of one head, in values."""
    devices: tuple[torch.device, ...]
    """Device of each layer."""
    dtype: torch.dtype
    """Number format of keys and values."""

    @property
    def bytes_per_row(self) -> int:
        """Bytes that the keys and values of one token take, in all layers."""
        return 2 * len(self.devices) * self.kv_heads * self.head_dim * self.dtype.itemsize

    @property
    def bytes_per_window(self) -> int:
        """Bytes that a cache takes when it holds a full context window."""
        return self.capacity * self.bytes_per_row

    def round_up(self, rows: int) -> int:
        """Return `rows` rounded up to whole blocks, at most the capacity."""
        return min(self.capacity, -(-rows // BLOCK) * BLOCK)


@dataclass(frozen=True, slots=True)
class Slot:
    """Space for one full context window at a fixed address; see `engine.kv_cache.arena`."""

    base: int
    """Index of the slot's first row among the rows of the arena."""
    rows: Tensor
    """Keys and values: (layers, 2, kv_heads, capacity, head_dim)."""


class KVCache:
    """Keys and values of one sequence; each layer holds tensors (kv_heads, rows, head_dim).

    `ids` are the token ids of the committed rows. Rows after `len(ids)` are undefined. Code that
    writes rows calls `commit` once all of them are written, so a step that fails in between leaves
    the cache valid.
    """

    def __init__(
        self,
        shape: CacheShape,
        owner: CacheOwner | None = None,
        slot: Slot | None = None,
        shelf: BufferShelf | None = None,
    ) -> None:
        """Create an empty cache.

        `owner` is None for rows of the base model. With a `slot` the cache has space for the whole
        context window from the start. Without one it grows as rows are reserved, with buffers from
        the `shelf` if one is given.
        """
        self.shape = shape
        self._shelf = shelf
        self.owner = owner
        self.slot = slot
        self.ids = array("i")
        self.rows = 0
        """Number of rows for which there is space now."""
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._buffers: dict[torch.device, Tensor] = {}
        if slot is not None:
            self._use_buffers({slot.rows.device: slot.rows}, shape.capacity)

    @property
    def bytes(self) -> int:
        """Bytes that the buffers take now."""
        return self.rows * self.shape.bytes_per_row

    def reserve(self, rows: int) -> None:
        """Make space for `rows` rows in total.

        Committed rows stay valid. Earlier views of `keys` and `values` become stale. Raises
        ValueError above the capacity, and torch.OutOfMemoryError or MemoryError when memory runs
        out; the cache is then unchanged.
        """
        if rows <= self.rows:
            return
        if rows > self.shape.capacity:
            raise ValueError(f"{rows} rows in a cache of at most {self.shape.capacity}")
        self._grow(self.shape.round_up(rows), len(self.ids))

    def copy_prefix(self, other: KVCache, rows: int) -> None:
        """Copy the first `rows` committed rows of `other` into space that is already reserved."""
        for device, buffer in self._buffers.items():
            buffer[:, :, :, :rows] = other._buffers[device][:, :, :, :rows]
        self.ids = other.ids[:rows]

    def release(self) -> None:
        """Put the buffers back on the shelf. The cache must not be used any more."""
        if self.slot is None:
            self._put_back_buffers()
            self._buffers, self.keys, self.values, self.rows = {}, [], [], 0
        del self.ids[:]

    def truncate(self, rows: int) -> None:
        """Drop all committed rows after the first `rows`."""
        del self.ids[rows:]

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write rows (kv_heads, n, head_dim) from row `start` on.

        Returns all keys and values of the layer up to the end of the new rows. The space must be
        reserved.
        """
        end = start + keys.shape[1]
        self.keys[layer][:, start:end] = keys
        self.values[layer][:, start:end] = values
        return self.keys[layer][:, :end], self.values[layer][:, :end]

    def commit(self, ids: Iterable[int]) -> None:
        """Record that the next rows after the committed ones hold the tokens `ids`."""
        self.ids.extend(ids)

    def _grow(self, rows: int, num_kept: int) -> None:
        shape, devices = self.shape, self.shape.devices
        buffers: dict[torch.device, Tensor] = {}
        for device in dict.fromkeys(devices):
            size = (devices.count(device), 2, shape.kv_heads, rows, shape.head_dim)
            allocate = new_buffer if self._shelf is None else self._shelf.take
            buffers[device] = allocate(size, shape.dtype, device)
            if num_kept:
                buffers[device][:, :, :, :num_kept] = self._buffers[device][:, :, :, :num_kept]
        self._put_back_buffers()
        self._use_buffers(buffers, rows)

    def _put_back_buffers(self) -> None:
        if self._shelf is not None:
            for buffer in self._buffers.values():
                self._shelf.put(buffer)

    def _use_buffers(self, buffers: dict[torch.device, Tensor], rows: int) -> None:
        next_layer = dict.fromkeys(self.shape.devices, 0)
        self.keys, self.values = [], []
        for device in self.shape.devices:
            keys, values = buffers[device][next_layer[device]].unbind(0)
            self.keys.append(keys)
            self.values.append(values)
            next_layer[device] += 1
        self._buffers, self.rows = buffers, rows


def common_prefix_length(a: array[int], b: array[int]) -> int:
    """Return the number of ids with which both sequences start."""
    # Bisection on bytes: a few microseconds for thousands of ids.
    low, high = 0, min(len(a), len(b))
    bytes_a, bytes_b, size = a.tobytes(), b.tobytes(), a.itemsize
    while low < high:
        middle = (low + high + 1) // 2
        if bytes_a[low * size : middle * size] == bytes_b[low * size : middle * size]:
            low = middle
        else:
            high = middle - 1
    return low
