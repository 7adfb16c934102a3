"""The prefix cache: a pool of KV caches, so that no prefix still in memory is computed again.

A request gets the cache that shares the longest prefix with its prompt, whichever request computed
it: an earlier one of the same editor, another editor's, or a chat. If that cache holds many more
rows than the shared ones, the shared rows are copied and the cache itself is kept.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from engine.kv_cache.arena import Arena
from engine.kv_cache.buffers import BufferShelf
from engine.kv_cache.cache import CacheOwner, CacheShape, KVCache, common_prefix_length
from engine.machine import free_memory
from engine.settings import KV_CACHES

_MIN_COPIED_ROWS = 16
"""Minimum number of shared rows that are copied. Fewer rows are computed as fast, because the step
that computes the rest of the prompt runs anyway."""

_SMALL_LOSS = 64
"""Number of rows that an idle cache may always lose, but no more than it shares with the prompt."""

_LOSS_PER_SHARED_ROW = 0.25
"""Number of rows that an idle cache may lose per row that it shares with the prompt.

A typical loss is the output of the previous keystroke.
"""

_SHARE_OF_GPU, _SHARE_OF_CPU = 0.5, 0.1
"""Shares of the memory that is free after loading, which KV caches may take."""
MAX_DRAFT_WINDOWS = 4
"""Limit of a draft model's pool in full context windows."""


def default_limit(shape: CacheShape, max_windows: int = KV_CACHES, reserved: int = 0) -> int:
    """Return the number of bytes that KV caches may take on this machine now.

    The limit is at least one full context window and at most `max_windows`. `reserved` is the
    number of free bytes that another model will take.
    """
    free = free_memory()
    gpus = [device.index or 0 for device in shape.devices if device.type == "cuda"]
    share = _SHARE_OF_GPU if gpus else _SHARE_OF_CPU
    size = share * ((min(free.gpus[i] for i in gpus) if gpus else free.cpu) - reserved)
    window = shape.bytes_per_window
    return min(max(int(size), window), max_windows * window)


class CachePool:
    """KV caches in use, and idle ones in order of their last use."""

    def __init__(self, shape: CacheShape, max_bytes: int, arena: Arena | None = None) -> None:
        """Create an empty pool.

        `max_bytes` bounds all caches together; caches in use may exceed it. With an arena the
        caches are its slots, and the limit is the size of the arena, which nothing exceeds.
        """
        self._shape, self._max_bytes, self._arena = shape, max_bytes, arena
        self._idle: list[KVCache] = []
        """Idle caches, the least recently used one first."""
        self._in_use: list[KVCache] = []
        self._shelf = BufferShelf()

    @property
    def bytes(self) -> int:
        """Bytes that all caches take, and the buffers that wait for the next caches."""
        return sum(cache.bytes for cache in (*self._idle, *self._in_use)) + self._shelf.bytes

    @property
    def num_in_use(self) -> int:
        """Number of caches that requests use now."""
        return len(self._in_use)

    @property
    def idle(self) -> tuple[KVCache, ...]:
        """Idle caches, the least recently used one first."""
        return tuple(self._idle)

    @property
    def num_free(self) -> int:
        """Number of full windows, the last one maybe in part, that the caches in use leave."""
        bytes_left = self._max_bytes - sum(cache.bytes for cache in self._in_use)
        return max(0, math.ceil(bytes_left / self._shape.bytes_per_window))

    def take(self, prompt: Sequence[int], owner: CacheOwner | None, rows: int) -> KVCache:
        """Return a cache for `prompt`, with its known prefix committed and space for `rows` rows.

        At least the last id of the prompt stays uncommitted, because its logits are needed. The
        cache belongs to the caller until `give_back`. Raises the errors of `KVCache.reserve`, and
        OutOfMemoryError if all slots are in use.
        """
        prompt_ids = array("i", prompt)
        self._drop_outdated(owner)
        best, num_shared = self._longest_match(prompt_ids, owner)
        num_shared = min(num_shared, len(prompt) - 1)
        if best is not None and best in self._idle and self._can_truncate(best, num_shared):
            self._idle.remove(best)
            best.truncate(num_shared)
            return self._use(best, rows)
        if num_shared < _MIN_COPIED_ROWS:
            best = None
        cache = self._use(self._new(owner, keep=best), rows, keep=best)
        if best is not None:
            cache.copy_prefix(best, num_shared)
            self._mark_used(best)
            self._free_bytes(0)  # while its rows were copied, `best` could not be dropped
        return cache

    def reserve(self, cache: KVCache, rows: int) -> None:
        """Make space for `rows` rows in a cache in use. Idle caches are dropped if needed.

        Raises the errors of `KVCache.reserve`.
        """
        if rows > cache.rows:
            self._grow(cache, rows)

    def give_back(self, cache: KVCache) -> None:
        """Keep a cache as idle, for prompts that start with the same tokens."""
        self._in_use.remove(cache)
        # Drop idle caches that are a prefix of this one: this one serves the same prompts.
        for idle in list(self._idle):
            if (
                idle.owner == cache.owner
                and len(idle.ids) <= len(cache.ids)
                and _starts_equal(cache.ids, idle.ids, len(idle.ids))
            ):
                self._drop(idle)
        self._idle.append(cache)
        if not cache.ids:
            self._drop(cache)
        self._free_bytes(0)

    def drop_idle(self) -> None:
        """Release all idle caches and their memory."""
        for cache in list(self._idle):
            self._drop(cache)
        while self._shelf.release_oldest():
            pass

    def _new(self, owner: CacheOwner | None, keep: KVCache | None) -> KVCache:
        if self._arena is None:
            return KVCache(self._shape, owner, shelf=self._shelf)
        self._free_bytes(self._shape.bytes_per_window, keep)
        return KVCache(self._shape, owner, self._arena.take())

    def _can_truncate(self, cache: KVCache, num_shared: int) -> bool:
        """Return whether an idle cache may lose all rows but the shared ones.

        The last available slot must be truncated in any case.
        """
        is_last = self._arena is not None and self._arena.num_free == 0 and self._idle == [cache]
        max_loss = max(min(_SMALL_LOSS, num_shared), _LOSS_PER_SHARED_ROW * num_shared)
        return is_last or len(cache.ids) - num_shared <= max_loss

    def _drop(self, cache: KVCache) -> None:
        self._idle.remove(cache)
        if self._arena is not None and cache.slot is not None:
            self._arena.give_back(cache.slot)
        cache.release()

    def _use(self, cache: KVCache, rows: int, keep: KVCache | None = None) -> KVCache:
        self._in_use.append(cache)
        try:
            if rows > cache.rows:
                self._grow(cache, rows, keep)
        except BaseException:
            self._in_use.remove(cache)
            self._idle.append(cache)
            self._drop(cache)
            raise
        return cache

    def _grow(self, cache: KVCache, rows: int, keep: KVCache | None = None) -> None:
        """Make space for `rows` rows in a cache; its present rows are copied."""
        self._free_bytes(self._shape.round_up(rows) * self._shape.bytes_per_row, keep)
        cache.reserve(rows)
        self._free_bytes(0, keep)  # the buffer that the cache has outgrown

    def _free_bytes(self, needed: int, keep: KVCache | None = None) -> None:
        """Release buffers, and drop idle caches except `keep`, until a new buffer of `needed` bytes
        is within the limit or is on the shelf."""
        while True:
            is_on_shelf = needed > 0 and self._shelf.holds(needed)
            if self.bytes + (0 if is_on_shelf else needed) <= self._max_bytes:
                return
            if not is_on_shelf and self._shelf.release_oldest():
                continue
            dropped = next((cache for cache in self._idle if cache is not keep), None)
            if dropped is not None:
                self._drop(dropped)
            elif not self._shelf.release_oldest():
                return

    def _longest_match(
        self, prompt: array[int], owner: CacheOwner | None
    ) -> tuple[KVCache | None, int]:
        best, num_shared = None, 0
        # The most recently used cache first: it is the likeliest to be in the processor's cache.
        for cache in (*reversed(self._idle), *self._in_use):
            if cache.owner == owner and _starts_equal(cache.ids, prompt, num_shared + 1):
                best, num_shared = cache, common_prefix_length(cache.ids, prompt)
        return best, num_shared

    def _mark_used(self, cache: KVCache) -> None:
        if cache in self._idle:
            self._idle.remove(cache)
            self._idle.append(cache)

    def _drop_outdated(self, owner: CacheOwner | None) -> None:
        """Drop caches of an adapter whose file has changed since: no request can use them."""
        if owner is None:
            return
        for cache in list(self._idle):
            other = cache.owner
            if other is not None and other.adapter == owner.adapter and other != owner:
                self._drop(cache)


def _starts_equal(ids: array[int], other: array[int], count: int) -> bool:
    """Return whether the first `count` ids, at least one, exist in both and are equal."""
    if count > min(len(ids), len(other)):
        return False
    # Comparing the last of them first rules out most caches.
    return ids[count - 1] == other[count - 1] and ids[:count] == other[:count]
