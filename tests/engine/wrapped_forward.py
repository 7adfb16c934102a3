"""A forward pass around another one, for tests that count calls or plant failures."""

from collections.abc import Sequence

from torch import Tensor

from engine.network.batch import BatchEntry
from engine.network.forward import Forward


class WrappedForward:
    """Records the batch sizes and rows of each call, and lets subclasses interfere."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.batch_sizes: list[int] = []
        self.rows: list[int] = []

    def __call__(self, batch: Sequence[BatchEntry]) -> list[Tensor]:
        self.batch_sizes.append(len(batch))
        self.rows.append(sum(len(entry.ids) for entry in batch))
        self.before(batch)
        return self.after(self._forward(batch))

    def before(self, batch: Sequence[BatchEntry]) -> None:
        """Hook that runs before the pass."""

    def after(self, logits: list[Tensor]) -> list[Tensor]:
        """Hook that may change the logits after the pass."""
        return logits

    def prepare(self) -> bool:
        return False
