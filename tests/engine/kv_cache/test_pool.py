"""The pool finds the longest known beginning, keeps what others may need, and stays in bounds."""

from array import array
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutOfMemoryError
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import BLOCK, CacheShape, KVCache, common_prefix
from engine.kv_cache.pool import CachePool
from engine.network.lora import Adapter

CPU = torch.device("cpu")
SHAPE = CacheShape(capacity=2000, kv_heads=1, head_dim=4, devices=(CPU, CPU), dtype=torch.float32)
WINDOW = SHAPE.capacity * SHAPE.bytes_a_row


def mine(name: str = "mine", changed: float = 0.0) -> Adapter:
    return Adapter(name, (), None, changed)


def fill(cache: KVCache, ids: Sequence[int]) -> None:
    """Write rows that say which id they are of, and commit them."""
    start = len(cache.ids)
    cache.reserve(start + len(ids))
    rows = torch.tensor(ids, dtype=torch.float32)[None, :, None].expand(1, len(ids), 4)
    for layer in range(2):
        cache.write(layer, start, rows + layer, -rows - layer)
    cache.commit(ids)


def check(cache: KVCache) -> None:
    """Every committed row is that of its id."""
    for layer in range(2):
        expected = torch.tensor(list(cache.ids), dtype=torch.float32) + layer
        assert torch.equal(cache.keys[layer][0, : len(cache.ids), 0], expected)
        assert torch.equal(cache.values[layer][0, : len(cache.ids), 3], -expected)


def use(pool: CachePool, prompt: Sequence[int], adapter: Adapter | None = None) -> int:
    """Answer a prompt as the engine does; return how many ids of it were known."""
    cache = pool.take(prompt, adapter, len(prompt) + 5)
    known = len(cache.ids)
    assert list(cache.ids) == list(prompt[:known])
    check(cache)
    fill(cache, prompt[known:])
    pool.give_back(cache)
    return known


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_the_common_prefix_is_that_of_a_plain_comparison(a: list[int], b: list[int]) -> None:
    expected = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    found = common_prefix(array("i", a), array("i", b))
    assert found == (min(len(a), len(b)) if expected is None else expected)


def test_at_least_the_last_id_is_left_to_compute() -> None:
    pool = CachePool(SHAPE, WINDOW)
    assert use(pool, range(100)) == 0
    assert use(pool, range(100)) == 99
    assert use(pool, range(60)) == 59


def test_typing_on_goes_on_in_the_same_cache() -> None:
    pool = CachePool(SHAPE, WINDOW)
    for length in range(500, 520):
        known = use(pool, range(length))
        assert known == (0 if length == 500 else length - 1)
    assert pool.idle == 1


def test_a_conversation_is_not_cut_down_for_another_request_that_begins_alike() -> None:
    pool = CachePool(SHAPE, WINDOW)
    talk = range(1000)
    use(pool, talk)
    assert use(pool, [*range(300), 7, 7, 7]) == 300
    assert use(pool, [*range(1000), 5]) == 1000
    assert use(pool, [*range(300), 7, 7, 8]) == 302


def test_what_is_in_use_is_copied_from_and_never_touched() -> None:
    pool = CachePool(SHAPE, WINDOW)
    first = pool.take(range(400), None, 400)
    fill(first, range(400))
    second = pool.take([*range(399), 9], None, 400)
    assert second is not first
    assert list(second.ids) == list(range(399))
    check(second)
    fill(second, (9, 9, 9))
    check(first)
    assert list(first.ids) == list(range(400))


def test_rows_belong_to_one_adapter() -> None:
    pool = CachePool(SHAPE, WINDOW)
    one, other = mine("one"), mine("other")
    use(pool, range(200))
    assert use(pool, range(200), one) == 0
    assert use(pool, range(200), other) == 0
    assert use(pool, range(200), one) == 199
    assert use(pool, range(200)) == 199


def test_what_an_adapter_computed_before_it_changed_is_gone() -> None:
    pool = CachePool(SHAPE, WINDOW)
    use(pool, range(200), mine(changed=1.0))
    again = mine(changed=2.0)
    assert use(pool, range(200), again) == 0
    assert pool.idle == 1


def test_what_another_cache_begins_with_is_not_kept_twice() -> None:
    pool = CachePool(SHAPE, WINDOW)
    one = pool.take(range(100), None, 100)
    other = pool.take(range(300), None, 300)
    fill(one, range(100))
    fill(other, range(300))
    pool.give_back(one)
    pool.give_back(other)
    assert pool.idle == 1
    assert use(pool, range(301)) == 300


def test_the_one_not_used_for_the_longest_time_goes_first() -> None:
    block = BLOCK * SHAPE.bytes_a_row
    pool = CachePool(SHAPE, 3 * block)
    for start in (1000, 2000, 3000):
        use(pool, range(start, start + 100))
    use(pool, range(1000, 1101))
    use(pool, range(4000, 4100))
    assert pool.bytes <= 3 * block
    assert use(pool, range(1000, 1102)) == 101
    assert use(pool, range(2000, 2101)) == 0


def test_a_cache_in_use_grows_at_the_cost_of_idle_ones() -> None:
    block = BLOCK * SHAPE.bytes_a_row
    pool = CachePool(SHAPE, 4 * block)
    use(pool, range(1000, 1100))
    cache = pool.take(range(50), None, 60)
    fill(cache, range(50))
    pool.reserve(cache, 4 * BLOCK)
    check(cache)
    assert pool.idle == 0
    assert pool.bytes == 4 * block
    assert not pool.has_room()


def test_it_never_grows_beyond_the_window() -> None:
    cache = KVCache(SHAPE)
    cache.reserve(SHAPE.capacity)
    assert cache.rows == SHAPE.capacity
    with pytest.raises(ValueError, match="2001 rows"):
        cache.reserve(SHAPE.capacity + 1)


# In an arena, where a cache is a slot.


def slots_of(count: int) -> tuple[CachePool, Arena]:
    arena = Arena(SHAPE, count)
    return CachePool(SHAPE, arena.bytes, arena), arena


def test_slots_are_used_again_and_the_idle_give_way() -> None:
    pool, arena = slots_of(2)
    for start in (1000, 2000, 3000):
        assert use(pool, range(start, start + 100)) == 0
    assert pool.idle == 2
    assert arena.free == 0
    assert use(pool, range(2000, 2101)) == 100
    assert use(pool, range(1000, 1101)) == 0
    pool.forget()
    assert arena.free == 2


def test_a_cache_in_a_slot_never_moves() -> None:
    pool, _ = slots_of(2)
    cache = pool.take(range(10), None, 10)
    where = [rows.data_ptr() for rows in (*cache.keys, *cache.values)]
    fill(cache, range(10))
    pool.reserve(cache, SHAPE.capacity)
    assert cache.rows == SHAPE.capacity
    assert [rows.data_ptr() for rows in (*cache.keys, *cache.values)] == where
    assert all(rows.is_contiguous() for rows in (*cache.keys, *cache.values))
    check(cache)
    with pytest.raises(ValueError, match="2001 rows"):
        pool.reserve(cache, SHAPE.capacity + 1)


def test_the_only_slot_left_is_taken_over_by_who_would_copy_it() -> None:
    pool, _ = slots_of(2)
    busy = pool.take(range(5000, 5010), None, 20)
    fill(busy, range(5000, 5010))
    use(pool, range(1000))
    assert use(pool, [*range(300), 7, 7]) == 300
    assert use(pool, range(1000)) == 300
    assert not pool.idle > 1
    check(busy)


def test_where_another_slot_is_idle_the_source_of_a_copy_stays() -> None:
    pool, _ = slots_of(2)
    use(pool, range(1000))
    use(pool, range(5000, 5100))
    assert use(pool, [*range(300), 7, 7]) == 300
    assert use(pool, range(1001)) == 1000


def test_when_all_slots_are_in_use_nobody_else_is_let_in() -> None:
    pool, arena = slots_of(2)
    held = []
    for start in (1000, 2000):
        assert pool.has_room()
        held.append(pool.take(range(start, start + 50), None, 60))
    assert not pool.has_room()
    with pytest.raises(OutOfMemoryError, match="All 2 KV caches are in use"):
        pool.take(range(10), None, 20)
    pool.give_back(held.pop())  # nothing was written to it
    assert pool.has_room()
    assert arena.free == 1
    assert pool.idle == 0
    assert use(pool, range(10)) == 0


def test_what_cannot_be_taken_leaves_its_slot() -> None:
    pool, arena = slots_of(2)
    with pytest.raises(ValueError, match="2001 rows"):
        pool.take(range(10), None, SHAPE.capacity + 1)
    assert arena.free == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 700), st.integers(0, 2), st.booleans()),
        max_size=25,
    ),
    st.booleans(),
)
def test_whatever_is_asked_rows_are_right_and_memory_bounded(
    asked: list[tuple[int, int, int, bool]], on_gpu: bool
) -> None:
    limit = 6 * BLOCK * SHAPE.bytes_a_row
    pool = CachePool(SHAPE, limit)
    if on_gpu:
        pool, _ = slots_of(3)
        limit = 3 * WINDOW
    adapters = [None, mine("a"), mine("b")]
    held: list[KVCache] = []
    for family, length, adapter, keep in asked:
        prompt = [*range(family * 40 + 30), *range(5000 * family, 5000 * family + length)]
        cache = pool.take(prompt, adapters[adapter], len(prompt) + 5)
        assert list(cache.ids) == prompt[: len(cache.ids)]
        assert len(cache.ids) < len(prompt)
        check(cache)
        fill(cache, prompt[len(cache.ids) :])
        if keep and len(held) < 2:
            held.append(cache)
        else:
            pool.give_back(cache)
        in_use = sum(one.bytes for one in held)
        assert pool.bytes <= max(limit, in_use)
        for one in held:
            check(one)
