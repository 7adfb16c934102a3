"""A small model that guesses what the large one will write.

Its greedy ids are checked by the large model many at a time, so they change nothing of an answer
but its speed (Leviathan et al. 2023, arXiv:2211.17192). It pays where a pass of the large model
takes much longer than one of the small: StarCoder beside starcoderbase-1b or tiny_starcoder_py,
which have the same vocabulary.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Sequence

import torch

from engine.errors import OutOfMemoryError
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import BLOCK, CacheShape, KVCache, common_prefix
from engine.kv_cache.pool import CachePool
from engine.network.lean_forward import Forward
from engine.network.step_costs import StepCosts

log = logging.getLogger(__name__)

_SURE = 0.4
"""Probability of a guess below which no more are made: transformers' default for assistants."""

_READING_SHARE = 0.1
"""What reading prompts may cost of what the large model's passes take. It is saved up from answer
to answer: what was read serves those that begin alike, but a short answer somewhere new would be
over before its prompt was read."""

_FEW = 32
"""Ids that are read at once: what the large model wrote since."""
_LEAST_READ, _MOST_READ = 16, 512
"""Ids of a prompt that are read beside a pass of the large model."""

FIRST_CHANCE = 0.7
"""Of a guess to be right if those before it were, before anything is known."""

DRAFT_WINDOWS = 4
"""Full windows of KV caches kept at most: a small model's are small."""


class DraftModel:
    """The small model, with the KV caches of the prompts that it has read."""

    def __init__(
        self, forward: Forward, shape: CacheShape, costs: StepCosts, arena: Arena | None = None
    ) -> None:
        """`costs` are those of its own passes, `arena` is where its caches lie on a GPU."""
        self.forward, self.shape, self.costs = forward, shape, costs
        limit = DRAFT_WINDOWS * shape.capacity * shape.bytes_a_row
        self.pool = CachePool(shape, arena.bytes if arena else limit, arena)
        self.chance = FIRST_CHANCE
        """How often a guess is right if those before it were; learned from answer to answer."""
        self.allowance_ms = 0.0
        """What reading may cost now."""

    def begin(self, prompt: Sequence[int], known: int, large: StepCosts) -> Guesses | None:
        """Begin to guess an answer, of whose prompt the large model knows so many ids already.

        None where the prompt does not fit, or memory ends: then there are no guesses.
        """
        self.earn(large.of(max(1, len(prompt) - known)))
        rows = min(len(prompt) + BLOCK, self.shape.capacity)
        if len(prompt) >= rows:
            return None
        try:
            cache = self.pool.take(prompt, None, rows)
        except (RuntimeError, MemoryError):
            self.pool.forget()
            return None
        except OutOfMemoryError:  # others' answers have all slots
            return None
        return Guesses(self, cache, large)

    def earn(self, milliseconds: float) -> None:
        """Take note of what a pass of the large model takes; a window's reading is saved up for."""
        enough = self.costs.of(self.shape.capacity)
        self.allowance_ms = min(enough, self.allowance_ms + _READING_SHARE * milliseconds)


class Guesses:
    """The small model's guesses for one answer."""

    def __init__(self, model: DraftModel, cache: KVCache, large: StepCosts) -> None:
        """`cache` is the small model's, and `large` are the other one's costs."""
        self.model, self._large = model, large
        self._cache: KVCache | None = cache

    @property
    def each_ms(self) -> float:
        """What one guess costs."""
        return self.model.costs.of(1)

    def guess(self, ids: array[int], most: int) -> tuple[int, ...] | None:
        """Return at most so many ids that may follow `ids`, all of prompt and answer.

        They end where it is not sure. None while it reads what comes before, a portion at a time.
        """
        cache = self._cache
        self.model.earn(self._large.of(1))
        if cache is None or most <= 0 or len(ids) + most > self.model.shape.capacity:
            return None
        known = min(common_prefix(cache.ids, ids), len(ids) - 1)
        del cache.ids[known:]
        started = time.perf_counter()
        try:
            if len(ids) - known > _FEW:
                self._read(cache, ids[known:-1])
                return None
            return self._write(cache, ids[known:], most)
        except (RuntimeError, MemoryError):
            log.warning("the draft model failed; the answer goes on without it", exc_info=True)
            self.close()
            return None
        finally:
            self._large.aside_ms += (time.perf_counter() - started) * 1000

    def close(self) -> None:
        """Leave the KV cache for the next answer."""
        if self._cache is not None:
            self.model.pool.give_back(self._cache)
            self._cache = None

    def _read(self, cache: KVCache, rest: array[int]) -> None:
        """Read what takes as long as a pass of the large model, if so much is allowed."""
        costs = self.model.costs
        portion = rest[: costs.within(self._large.of(1), _LEAST_READ, _MOST_READ)]
        if (cost := costs.of(len(portion))) <= self.model.allowance_ms:
            self.model.allowance_ms -= cost
            self._compute(cache, portion)

    def _write(self, cache: KVCache, rest: array[int], most: int) -> tuple[int, ...]:
        found: list[int] = []
        following: Sequence[int] = rest
        while len(found) < most:
            sure, chosen = self._compute(cache, following)
            if sure < _SURE:
                break
            found.append(chosen)
            following = found[-1:]
        return tuple(found)

    def _compute(self, cache: KVCache, following: Sequence[int]) -> tuple[float, int]:
        """Write the rows of ids; return the probability of what is likeliest after them, and it."""
        started = time.perf_counter()
        self.model.pool.reserve(cache, len(cache.ids) + len(following))
        ids = torch.tensor(following, dtype=torch.int64)
        likeliest = self.model.forward(ids, cache)[0].softmax(-1).max(-1)
        # One copy to the host; float32 holds ids below 2^24 exactly.
        sure, chosen = torch.stack([likeliest.values, likeliest.indices.float()]).tolist()
        cache.commit(following)
        self.model.costs.learn(len(following), (time.perf_counter() - started) * 1000)
        return sure, int(chosen)
