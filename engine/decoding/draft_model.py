"""A small model that proposes draft tokens for a large one.

The large model checks many of its greedy tokens in one step, so they change only the speed
(Leviathan et al. 2023, arXiv:2211.17192). A draft model pays off if a step of the large model takes
much longer than one of the small model: StarCoder with starcoderbase-1b or tiny_starcoder_py, which
have the same vocabulary.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Sequence

import torch

from engine.errors import OutOfMemoryError
from engine.kv_cache.cache import BLOCK, KVCache, common_prefix_length
from engine.kv_cache.pool import MAX_DRAFT_WINDOWS, CachePool
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.model import LoadedModel
from engine.network.step_costs import StepCosts

log = logging.getLogger(__name__)

_MIN_PROBABILITY = 0.4
"""Probability of a draft token below which drafting stops: transformers' default for assistants."""

_PREFILL_SHARE = 0.1
"""Time for prefilling prompts in the draft model, as a share of the large model's step times.

The time is saved up over requests. A prefill serves all prompts with the same prefix, but a short
output at a new place would be finished before the prefill of its prompt.
"""

_MIN_PREFILL, _MAX_PREFILL = 16, 512
"""Bounds of the number of prompt tokens that are prefilled per step of the large model."""

INITIAL_ACCEPTANCE = 0.7
"""Assumed acceptance rate of a draft token before anything is known."""


class DraftModel:
    """The small model with the KV caches of the prompts that it has computed."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        max_bytes = MAX_DRAFT_WINDOWS * model.cache_shape.bytes_per_window
        arena = model.arena
        self.pool = CachePool(model.cache_shape, arena.bytes if arena else max_bytes, arena)
        self.acceptance_rate = INITIAL_ACCEPTANCE
        """Probability that a draft token is right if those before it are, over all requests."""
        self.total_ms = 0.0
        """Milliseconds spent in this model so far."""
        self._prefill_budget_ms = 0.0
        """Milliseconds that prefilling may take now."""

    def start(self, prompt: Sequence[int], num_known: int, large: StepCosts) -> ModelDraft | None:
        """Start drafting for a request.

        `num_known` is the number of prompt tokens in the large model's KV cache.

        Returns None if the prompt does not fit or memory runs out; the request then gets no draft
        tokens from this model.
        """
        self.earn_prefill_time(large.milliseconds(max(1, len(prompt) - num_known)))
        rows = min(len(prompt) + BLOCK, self.model.cache_shape.capacity)
        if len(prompt) >= rows:
            return None
        try:
            cache = self.pool.take(prompt, None, rows)
        except (RuntimeError, MemoryError):
            self.pool.drop_idle()
            return None
        except OutOfMemoryError:  # other requests use all slots
            return None
        return ModelDraft(self, cache, large)

    def earn_prefill_time(self, step_ms: float) -> None:
        """Record a step of the large model. At most one window's prefill time is saved up."""
        max_ms = self.model.costs.milliseconds(self.model.cache_shape.capacity)
        self._prefill_budget_ms = min(max_ms, self._prefill_budget_ms + _PREFILL_SHARE * step_ms)

    def spend_prefill_time(self, milliseconds: float) -> bool:
        """Take time from the prefill budget; return False if the budget is too small."""
        if milliseconds > self._prefill_budget_ms:
            return False
        self._prefill_budget_ms -= milliseconds
        return True

    def compute(self, cache: KVCache, ids: Sequence[int]) -> tuple[float, int]:
        """Compute and commit tokens; return the likeliest next one's probability, and its id."""
        started = time.perf_counter()
        self.pool.reserve(cache, len(cache.ids) + len(ids))
        logits = self.model.forward([BatchEntry(tuple(ids), cache)])[0]
        likeliest = logits[0].softmax(-1).max(-1)
        # One copy to the host. float32 represents ids below 2^24 exactly.
        pair = torch.stack([likeliest.values, likeliest.indices.float()])
        probability, id_ = pair.tolist()
        cache.commit(ids)
        self.model.costs.record(len(ids), (time.perf_counter() - started) * 1000)
        return probability, int(id_)


class ModelDraft:
    """The draft model's work for one request."""

    def __init__(self, draft_model: DraftModel, cache: KVCache, large: StepCosts) -> None:
        """`cache` is a KV cache of the draft model. `large` are the large model's step costs."""
        self.draft_model, self._large = draft_model, large
        self._cache: KVCache | None = cache

    @property
    def token_ms(self) -> float:
        """Milliseconds that one draft token costs."""
        return self.draft_model.model.costs.milliseconds(1)

    @property
    def acceptance_rate(self) -> float:
        """Acceptance rate that earlier requests have shown."""
        return self.draft_model.acceptance_rate

    def share_acceptance_rate(self, rate: float) -> None:
        """Keep the acceptance rate of this request as the start value of later requests."""
        self.draft_model.acceptance_rate = rate

    def propose(self, ids: array[int], max_tokens: int) -> tuple[int, ...] | None:
        """Return up to `max_tokens` draft tokens that follow `ids`, all of prompt and output.

        The draft ends where the model is not sure. The result is None while the prompt is still
        being prefilled, one chunk per call.
        """
        cache = self._cache
        self.draft_model.earn_prefill_time(self._large.milliseconds(1))
        capacity = self.draft_model.model.cache_shape.capacity
        if cache is None or max_tokens <= 0 or len(ids) + max_tokens > capacity:
            return None
        num_known = min(common_prefix_length(cache.ids, ids), len(ids) - 1)
        cache.truncate(num_known)
        started = time.perf_counter()
        try:
            if len(ids) - num_known > DECODE_ROWS:
                self._prefill(cache, ids[num_known:-1])
                return None
            return self._write(cache, ids[num_known:], max_tokens)
        except (RuntimeError, MemoryError):
            log.warning("the draft model failed; the request goes on without it", exc_info=True)
            self.close()
            return None
        finally:
            self.draft_model.total_ms += (time.perf_counter() - started) * 1000

    def close(self) -> None:
        """Keep the KV cache for the next request."""
        if self._cache is not None:
            self.draft_model.pool.give_back(self._cache)
            self._cache = None

    def _prefill(self, cache: KVCache, ids: array[int]) -> None:
        """Compute as many tokens as one step of the large model takes, if the budget allows."""
        costs = self.draft_model.model.costs
        step_ms = self._large.milliseconds(1)
        chunk = ids[: costs.max_rows_within(step_ms, _MIN_PREFILL, _MAX_PREFILL)]
        if self.draft_model.spend_prefill_time(costs.milliseconds(len(chunk))):
            self.draft_model.compute(cache, chunk)

    def _write(self, cache: KVCache, ids: array[int], max_tokens: int) -> tuple[int, ...]:
        draft: list[int] = []
        following: Sequence[int] = ids
        while len(draft) < max_tokens:
            probability, id_ = self.draft_model.compute(cache, following)
            if probability < _MIN_PROBABILITY:
                break
            draft.append(id_)
            following = draft[-1:]
        return tuple(draft)
