"""The KV cache: keys and values of the ids seen, in buffers that never move.

StarCoder's learned positions are absolute, so a cached row is good only at the place where it was
computed: what can be reused of an earlier request is exactly the longest common prefix of ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.lora import Adapter


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Sizes of a cache."""

    capacity: int
    """Rows, one a token: the context window."""
    kv_heads: int
    """1 in a multi-query model."""
    head_dim: int
    devices: tuple[torch.device, ...]
    """Where each layer is."""
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """What all buffers take together."""
        row = self.kv_heads * self.head_dim * self.dtype.itemsize
        return 2 * len(self.devices) * self.capacity * row


class KVCache:
    """Keys and values of one sequence, each layer (kv_heads, capacity, head_dim).

    `ids` names what the rows hold, and `adapter` what computed them beside the model. Rows beyond
    `len(ids)` are not defined: whoever writes rows calls `commit` once they are all there, so a
    step that fails in between leaves no false claim.
    """

    def __init__(self, shape: CacheShape, adapter: Adapter | None = None) -> None:
        self.shape = shape
        self.adapter = adapter
        size = (shape.kv_heads, shape.capacity, shape.head_dim)
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=d) for d in shape.devices]
        self.values = [torch.zeros(size, dtype=shape.dtype, device=d) for d in shape.devices]
        self.ids: list[int] = []

    def reuse(self, prompt: Sequence[int]) -> int:
        """Keep the rows that `prompt` begins with; return how many.

        At least the last id of the prompt is left to compute, since its logits are wanted.
        """
        shared = 0
        for held, wanted in zip(self.ids, prompt[:-1], strict=False):
            if held != wanted:
                break
            shared += 1
        del self.ids[shared:]
        return shared

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write rows from `start`, (kv_heads, n, head_dim); return all rows up to their end."""
        end = start + keys.shape[1]
        self.keys[layer][:, start:end] = keys
        self.values[layer][:, start:end] = values
        return self.keys[layer][:, :end], self.values[layer][:, :end]

    def commit(self, ids: Sequence[int]) -> None:
        """Say that the rows after the present ones now hold `ids`."""
        self.ids.extend(ids)
