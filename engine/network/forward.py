"""The interface of a forward pass: token ids in, logits out, with KV caches between calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from engine.network.batch import BatchEntry


class Forward(Protocol):
    """A network that computes logits and fills KV caches."""

    def __call__(self, batch: Sequence[BatchEntry]) -> list[Tensor]:
        """Compute one batch.

        Writes the rows of each entry after the committed rows of its cache, and returns float32
        logits (num_logits, vocab) for each entry. For `num_logits` 0 the tensor's content is
        undefined. A returned tensor is valid until the next call. The caller commits the rows.
        """
        ...

    def prepare(self) -> bool:
        """Do one piece of work, some tens of milliseconds, that makes later calls faster.

        The engine calls this while it is idle. Returns whether more such work is left.
        """
        ...
