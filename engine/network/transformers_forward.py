"""Transformers' own module as a `Forward`.

For what the lean forward is not: weights spread over devices or offloaded by accelerate, models
without multi-query attention, other architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from engine.decoding.sequence import Part
from engine.errors import RequestError
from engine.kv_cache.cache import KVCache


class _BufferLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of our buffers, as transformers' attention wants to see it."""

    is_sliding = False

    def __init__(self, cache: KVCache, index: int) -> None:
        super().__init__()
        self._cache, self._index = cache, index
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the buffers are there from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write rows, (1, kv_heads, n, head_dim); return all of them up to their end."""
        start = len(self._cache.ids)
        keys, values = self._cache.write(self._index, start, key_states[0], value_states[0])
        return keys[None], values[None]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Rows that the queries see, and where they begin."""
        return len(self._cache.ids) + query_length, 0

    def get_seq_length(self) -> int:
        """Rows that are committed."""
        return len(self._cache.ids)

    def get_max_length(self) -> int:
        """Rows there is room for."""
        return self._cache.shape.capacity


class ModuleForward:
    """Transformers' own module over our buffers."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        if self._device.type == "meta":  # offloaded: accelerate's hooks bring weights and inputs
            self._device = torch.device("cpu")

    def __call__(self, ids: Tensor, cache: KVCache, *, last: int = 1) -> Tensor:
        """See `engine.network.lean_forward.Forward`.

        Raises RequestError for an adapter: the module has no place for it.
        """
        if cache.adapter is not None:
            raise RequestError(
                "Adapters need a multi-query StarCoder that lies wholly on one device."
            )
        start = len(cache.ids)
        cache.reserve(start + ids.shape[0])
        layers = [_BufferLayer(cache, index) for index in range(len(cache.keys))]
        positions = torch.arange(start, start + ids.shape[0], device=self._device)
        logits: Tensor = self._model(
            input_ids=ids.to(self._device)[None],
            position_ids=positions[None],
            past_key_values=Cache(layers=layers),
            use_cache=True,
            logits_to_keep=max(1, last),
        ).logits[0]
        return logits.float()

    def batch(self, parts: Sequence[Part]) -> list[Tensor]:
        """See `engine.network.lean_forward.Forward`. One after the other: its cache is that of
        one sequence."""
        return [self(torch.tensor(part.ids), part.cache, last=part.last) for part in parts]

    def prepare(self) -> bool:
        """See `engine.network.lean_forward.Forward`."""
        return False
