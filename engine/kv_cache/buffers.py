"""Memory of KV caches in main memory: mappings of their own, which the next caches use again.

A general allocator keeps freed blocks of this size, and cuts smaller ones from them. Caches grow
and are dropped in any order, so soon no gap fits the next cache, and the process grows for as long
as people type. Here each buffer is a mapping of its own. Its memory is either used again as a whole
or goes back to the system. Using it again also saves the page faults, which cost more than copying.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

_HUGE_PAGE = 1 << 21
"""Bytes of a huge page. Larger buffers ask for them, as torch's own allocator does."""


def new_buffer(size: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor with undefined values; on a CPU it is a mapping of its own.

    Raises torch.OutOfMemoryError, or MemoryError on a CPU.
    """
    if device.type != "cpu":
        return torch.empty(size, dtype=dtype, device=device)
    mapping = _map(prod(size) * dtype.itemsize)
    # The tensor keeps the mapping alive, and the mapping ends with the last view of the tensor.
    return torch.frombuffer(mapping, dtype=dtype).view(*size)


def _map(num_bytes: int) -> mmap.mmap:
    try:
        if sys.platform == "win32":
            return mmap.mmap(-1, num_bytes)
        mapping = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {num_bytes} bytes of keys and values") from error
    if num_bytes >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


class BufferShelf:
    """Buffers of dropped caches of one shape, for the next caches of the same size.

    Buffers of a GPU are not kept: torch's allocator for GPUs does that itself.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        """The buffers, the one that was put here first at the start."""

    @property
    def bytes(self) -> int:
        """Bytes that the buffers take."""
        return sum(buffer.nbytes for buffer in self._free)

    def holds(self, num_bytes: int) -> bool:
        """Return whether there is a buffer of this size."""
        return any(buffer.nbytes == num_bytes for buffer in self._free)

    def take(self, size: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return a buffer with undefined values, a new one if none has this size.

        Raises the errors of `new_buffer`.
        """
        for index, buffer in enumerate(self._free):
            if buffer.shape == tuple(size) and buffer.device == device:
                return self._free.pop(index)
        return new_buffer(size, dtype, device)

    def put(self, buffer: Tensor) -> None:
        """Keep a buffer that no cache uses any more."""
        if buffer.device.type == "cpu":
            self._free.append(buffer)

    def release_oldest(self) -> bool:
        """Give the memory of the oldest buffer back to the system; return whether there was one."""
        if not self._free:
            return False
        self._free.pop(0)
        return True
