"""Fixed addresses for KV caches, as a recorded CUDA graph needs them.

All keys and values of a model lie in one tensor, allocated once after loading. A cache is a slot of
this tensor: a full context window. With one key/value head, the window of a model of 15.5 billion
parameters takes 168 MB. After that nothing is allocated, moved, or copied in order to grow.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from engine.errors import OutOfMemoryError
from engine.kv_cache.cache import CacheShape, Slot

log = logging.getLogger(__name__)

_NUM_EXTRA_ROWS = 2
"""Number of rows after those of the slots: the zero row and the scratch row."""


class Arena:
    """Slots for the KV caches of a model on one device."""

    def __init__(self, shape: CacheShape, num_slots: int) -> None:
        """Allocate all slots. Raises torch.OutOfMemoryError, or RuntimeError on a CPU."""
        self.shape, self.num_slots = shape, num_slots
        rows, layers = num_slots * shape.capacity, len(shape.devices)
        self.rows: Tensor = torch.empty(
            (layers, 2, shape.kv_heads, rows + _NUM_EXTRA_ROWS, shape.head_dim),
            dtype=shape.dtype,
            device=shape.devices[0],
        )
        """Keys and values of each layer: (layers, 2, kv_heads, rows, head_dim)."""
        self.zero_row = rows
        """Index of a row of zeros, which is read for masked columns."""
        self.scratch_row = rows + 1
        """Index of the row to which padding writes."""
        self.rows[..., rows:, :].zero_()
        self._free = list(range(num_slots))

    @property
    def bytes(self) -> int:
        """Bytes that all slots take."""
        return self.num_slots * self.shape.bytes_per_window

    @property
    def num_free(self) -> int:
        """Number of slots that no cache uses."""
        return len(self._free)

    def take(self) -> Slot:
        """Return a free slot with undefined rows. Raises OutOfMemoryError if all are in use."""
        if not self._free:
            raise OutOfMemoryError(
                f"All {self.num_slots} KV caches are in use. Try again later, set contextWindow "
                "lower, or choose a smaller model."
            )
        window = self.shape.capacity
        base = self._free.pop() * window
        return Slot(base, self.rows[..., base : base + window, :])

    def give_back(self, slot: Slot) -> None:
        """Free a slot. Its cache must not be used any more."""
        self._free.append(slot.base // self.shape.capacity)


def largest_arena(shape: CacheShape, max_bytes: int) -> Arena:
    """Return an arena of up to `max_bytes` bytes, with at least one slot.

    If memory runs out, the number of slots is halved. Raises torch.OutOfMemoryError if not even one
    slot fits.
    """
    num_slots = max(1, max_bytes // shape.bytes_per_window)
    while True:
        try:
            return Arena(shape, num_slots)
        except torch.OutOfMemoryError:
            if num_slots == 1:
                raise
            log.warning("no memory for %d KV caches; trying half of them", num_slots)
            num_slots //= 2
