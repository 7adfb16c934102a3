"""A transformers module as a `Forward`.

This path computes all models that `LeanForward` does not support: weights that accelerate spreads
over devices or offloads, and architectures that `engine.architecture` cannot describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from engine.errors import RequestError
from engine.kv_cache.cache import KVCache
from engine.network.batch import BatchEntry

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _CacheLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of a `KVCache`, with the interface that transformers' attention expects."""

    is_sliding = False

    def __init__(self, cache: KVCache, index: int) -> None:
        super().__init__()
        self._cache, self._index = cache, index
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the buffers exist from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write rows (1, kv_heads, n, head_dim); return all rows up to their end."""
        start = len(self._cache.ids)
        keys, values = self._cache.write(self._index, start, key_states[0], value_states[0])
        return keys[None], values[None]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of rows that the queries see, and the first of these rows."""
        return len(self._cache.ids) + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of committed rows."""
        return len(self._cache.ids)

    def get_max_length(self) -> int:
        """Return the maximum number of rows."""
        return self._cache.shape.capacity


class TransformersForward:
    """A transformers module that reads and writes our KV caches."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        if self._device.type == "meta":  # offloaded: accelerate's hooks move weights and inputs
            self._device = torch.device("cpu")

    def __call__(self, batch: Sequence[BatchEntry]) -> list[Tensor]:
        """Compute one sequence after the other, because a module takes one cache; see `Forward`.

        Raises RequestError for an adapter, which this path does not support.
        """
        return [self._compute(entry) for entry in batch]

    def _compute(self, entry: BatchEntry) -> Tensor:
        if entry.adapter is not None:
            raise RequestError(
                "Adapters need a model that lies on a single device, of an architecture that "
                "starcoder-lsp computes itself."
            )
        cache = entry.cache
        cache.reserve(entry.end)
        layers = [_CacheLayer(cache, index) for index in range(len(cache.keys))]
        positions = torch.arange(entry.start, entry.end, device=self._device)
        logits: Tensor = self._model(
            input_ids=torch.tensor(entry.ids, device=self._device)[None],
            position_ids=positions[None],
            past_key_values=Cache(layers=layers),
            use_cache=True,
            logits_to_keep=max(1, entry.num_logits),
        ).logits[0]
        return logits.float()

    def prepare(self) -> bool:
        """Do nothing: there is nothing to prepare."""
        return False
