"""The pool of KV caches: no prefix that is still in memory is computed again.

A request gets the cache that shares the longest beginning with its prompt, whoever it was computed
for: an earlier request of the same editor, another editor's, a chat. A cache that holds much more
than what is shared is not cut down for that: its rows are copied, and it stays.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import CacheShape, KVCache, common_prefix
from engine.loading.model_size import free_memory
from engine.network.lora import Adapter

_WORTH_COPYING = 16
"""Rows; fewer are computed as fast, since the step that computes the rest is taken anyway."""

_SMALL_LOSS = 64
"""Rows: a cache may be cut by as many, if it shares as many."""

_LOSS_A_SHARED_ROW = 0.25
"""Or by this share of those it shares. An answer of a key ago is such a loss."""

_SHARE_OF_GPU, _SHARE_OF_CPU = 0.5, 0.1
"""Of the memory that is free once the model is loaded."""
MOST_WINDOWS = 32
"""Full windows; more prefixes are seldom alive, and a small model is to stay small."""


def default_limit(shape: CacheShape, windows: int = MOST_WINDOWS) -> int:
    """Return how many bytes caches may take on this machine now.

    One full window at least, and `windows` at most.
    """
    free = free_memory()
    gpus = [device.index or 0 for device in shape.devices if device.type == "cuda"]
    share = _SHARE_OF_GPU * min(free.gpus[at] for at in gpus) if gpus else _SHARE_OF_CPU * free.cpu
    window = shape.capacity * shape.bytes_a_row
    return min(max(int(share), window), windows * window)


class CachePool:
    """Caches in use, and idle ones ordered by their last use."""

    def __init__(self, shape: CacheShape, limit_bytes: int, arena: Arena | None = None) -> None:
        """`limit_bytes` bounds all caches together; those in use may exceed it.

        With an arena caches are slots of it, the limit what those take, and nothing exceeds it.
        """
        self._shape, self._limit, self._arena = shape, limit_bytes, arena
        self._idle: list[KVCache] = []
        """The one not used for the longest time first."""
        self._used: list[KVCache] = []

    @property
    def bytes(self) -> int:
        """What all caches take."""
        return sum(cache.bytes for cache in (*self._idle, *self._used))

    @property
    def idle(self) -> int:
        """How many caches wait for a prompt that begins as they do."""
        return len(self._idle)

    def has_room(self) -> bool:
        """Whether the caches in use leave room for another of some length."""
        return sum(cache.bytes for cache in self._used) < self._limit

    def take(self, prompt: Sequence[int], adapter: Adapter | None, rows: int) -> KVCache:
        """Return a cache for a prompt, with what is known of it committed and room for `rows`.

        At least the last id of the prompt is left to compute. The cache is the caller's until it is
        given back. Raises as `KVCache.reserve`, and OutOfMemoryError if all slots are in use.
        """
        wanted = array("i", prompt)
        self._drop_old_readings(adapter)
        best, shared = self._best(wanted, adapter)
        shared = min(shared, len(prompt) - 1)
        if best is not None and best in self._idle and self._may_be_cut(best, shared):
            self._idle.remove(best)
            del best.ids[shared:]
            return self._in_use(best, rows)
        if shared < _WORTH_COPYING:
            best = None
        made = self._in_use(self._new(adapter, spared=best), rows, spared=best)
        if best is not None:
            made.copy_prefix(best, shared)
            self._touch(best)
            self._make_room(0)  # it was spared so far
        return made

    def reserve(self, cache: KVCache, rows: int) -> None:
        """Make room for so many rows in a cache in use; idle ones go where memory is short.

        Raises as `KVCache.reserve`.
        """
        if rows > cache.rows:
            self._make_room((self._shape.rows(rows) - cache.rows) * self._shape.bytes_a_row)
            cache.reserve(rows)

    def give_back(self, cache: KVCache) -> None:
        """Keep a cache for whoever begins as it does."""
        self._used.remove(cache)
        # What is the beginning of this one serves nobody that this one does not.
        for held in list(self._idle):
            if (
                held.adapter is cache.adapter
                and len(held.ids) <= len(cache.ids)
                and _begins_with(cache.ids, held.ids, len(held.ids))
            ):
                self._drop(held)
        self._idle.append(cache)
        if not cache.ids:
            self._drop(cache)
        self._make_room(0)

    def forget(self) -> None:
        """Let go of all idle caches."""
        for cache in list(self._idle):
            self._drop(cache)

    def _new(self, adapter: Adapter | None, spared: KVCache | None) -> KVCache:
        if self._arena is None:
            return KVCache(self._shape, adapter)
        self._make_room(self._arena.bytes // self._arena.slots, spared)
        return KVCache(self._shape, adapter, self._arena.take())

    def _may_be_cut(self, cache: KVCache, shared: int) -> bool:
        """Whether an idle cache may lose all but the shared rows; the only slot left has to."""
        is_last = self._arena is not None and self._arena.free == 0 and self._idle == [cache]
        most = max(min(_SMALL_LOSS, shared), _LOSS_A_SHARED_ROW * shared)
        return is_last or len(cache.ids) - shared <= most

    def _drop(self, cache: KVCache) -> None:
        """Let go of an idle cache."""
        self._idle.remove(cache)
        if self._arena is not None and cache.slot is not None:
            self._arena.give_back(cache.slot)

    def _in_use(self, cache: KVCache, rows: int, spared: KVCache | None = None) -> KVCache:
        self._used.append(cache)
        try:
            if rows > cache.rows:
                more = (self._shape.rows(rows) - cache.rows) * self._shape.bytes_a_row
                self._make_room(more, spared)
                cache.reserve(rows)
        except BaseException:
            self._used.remove(cache)
            self._idle.append(cache)
            self._drop(cache)
            raise
        return cache

    def _make_room(self, more: int, spared: KVCache | None = None) -> None:
        over = self.bytes + more - self._limit
        for cache in list(self._idle):
            if over <= 0:
                return
            if cache is not spared:
                self._drop(cache)
                over -= cache.bytes

    def _best(self, wanted: array[int], adapter: Adapter | None) -> tuple[KVCache | None, int]:
        best, shared = None, 0
        # The last used first: of equals, it is the likeliest to be in the processor's cache.
        for cache in (*reversed(self._idle), *self._used):
            if cache.adapter is adapter and _begins_with(cache.ids, wanted, shared + 1):
                best, shared = cache, common_prefix(cache.ids, wanted)
        return best, shared

    def _touch(self, cache: KVCache) -> None:
        if cache in self._idle:
            self._idle.remove(cache)
            self._idle.append(cache)

    def _drop_old_readings(self, adapter: Adapter | None) -> None:
        """Drop caches of an adapter whose file has changed since: no request has them again."""
        if adapter is not None:
            for held in list(self._idle):
                one = held.adapter
                if one is not None and one is not adapter and one.name == adapter.name:
                    self._drop(held)


def _begins_with(ids: array[int], wanted: array[int], count: int) -> bool:
    """Whether the first `count` ids, at least one, are there and the same."""
    if count > min(len(ids), len(wanted)):
        return False
    # The last of them alone rules most out.
    return ids[count - 1] == wanted[count - 1] and ids[:count] == wanted[:count]
