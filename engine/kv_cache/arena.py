"""Rows for KV caches that never move: on a GPU, where a recorded step knows addresses, not names.

All keys and values of a model lie in one tensor, taken once after loading. A cache is a slot of it,
a full window: with one key head even that of 15.5 billion parameters is 168 MB. Nothing is
allocated, copied to grow, or moved after that.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from engine.errors import OutOfMemoryError
from engine.kv_cache.cache import CacheShape, Slot

log = logging.getLogger(__name__)

_SPARE = 2


class Arena:
    """Slots for the caches of a multi-query model that lies on one device."""

    def __init__(self, shape: CacheShape, slots: int) -> None:
        """Raises torch.OutOfMemoryError, or RuntimeError on a CPU."""
        self.shape, self.slots = shape, slots
        rows, layers = slots * shape.capacity, len(shape.devices)
        self.rows: Tensor = torch.empty(
            (layers, 2, rows + _SPARE, shape.head_dim), dtype=shape.dtype, device=shape.devices[0]
        )
        """Keys and values of each layer: (layers, 2, rows, head_dim)."""
        self.zero_row, self.scratch_row = rows, rows + 1
        """One that is read for what nobody may see, and one that is written for nobody."""
        self.rows[:, :, rows:].zero_()
        self._free = list(range(slots))

    @property
    def bytes(self) -> int:
        """What all slots take."""
        return self.slots * self.shape.capacity * self.shape.bytes_a_row

    @property
    def free(self) -> int:
        """Slots that no cache has."""
        return len(self._free)

    def take(self) -> Slot:
        """Return a free slot, whose rows hold anything. Raises OutOfMemoryError for want of one."""
        if not self._free:
            raise OutOfMemoryError(
                f"All {self.slots} KV caches are in use. Ask again, set contextWindow lower, or "
                "choose a smaller model."
            )
        window = self.shape.capacity
        base = self._free.pop() * window
        return Slot(base, self.rows[:, :, base : base + window].unsqueeze(2))

    def give_back(self, slot: Slot) -> None:
        """Let others have a slot; its cache is not used any more."""
        self._free.append(slot.base // self.shape.capacity)


def largest_arena(shape: CacheShape, bytes_: int) -> Arena:
    """Return an arena of so many bytes: one slot at least, fewer than planned where memory ends.

    Raises torch.OutOfMemoryError where there is no room for one.
    """
    slots = max(1, bytes_ // (shape.capacity * shape.bytes_a_row))
    while True:
        try:
            return Arena(shape, slots)
        except torch.OutOfMemoryError:
            if slots == 1:
                raise
            log.warning("no memory for %d KV caches; half as many", slots)
            slots //= 2
