"""The pool reuses the longest prefix, keeps what other requests may need, and stays in bounds."""

from array import array
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutOfMemoryError
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import BLOCK, CacheOwner, CacheShape, KVCache, common_prefix_length
from engine.kv_cache.pool import CachePool

CPU = torch.device("cpu")
SHAPE = CacheShape(capacity=2000, kv_heads=1, head_dim=4, devices=(CPU, CPU), dtype=torch.float32)
WINDOW = SHAPE.bytes_per_window


def mine(name: str = "mine", changed: float = 0.0) -> CacheOwner:
    return CacheOwner(name, changed)


def fill(cache: KVCache, ids: Sequence[int]) -> None:
    """Write rows that encode their token id, and commit them."""
    start = len(cache.ids)
    cache.reserve(start + len(ids))
    rows = torch.tensor(ids, dtype=torch.float32)[None, :, None].expand(1, len(ids), 4)
    for layer in range(2):
        cache.write(layer, start, rows + layer, -rows - layer)
    cache.commit(ids)


def check(cache: KVCache) -> None:
    """Check that every committed row encodes its token id."""
    for layer in range(2):
        expected = torch.tensor(list(cache.ids), dtype=torch.float32) + layer
        assert torch.equal(cache.keys[layer][0, : len(cache.ids), 0], expected)
        assert torch.equal(cache.values[layer][0, : len(cache.ids), 3], -expected)


def use(pool: CachePool, prompt: Sequence[int], owner: CacheOwner | None = None) -> int:
    """Compute a prompt as the engine does; return the number of reused rows."""
    cache = pool.take(prompt, owner, len(prompt) + 5)
    num_reused = len(cache.ids)
    assert list(cache.ids) == list(prompt[:num_reused])
    check(cache)
    fill(cache, prompt[num_reused:])
    pool.give_back(cache)
    return num_reused


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_the_common_prefix_is_that_of_a_plain_comparison(a: list[int], b: list[int]) -> None:
    pairs = enumerate(zip(a, b, strict=False))
    expected = next((index for index, (x, y) in pairs if x != y), min(len(a), len(b)))
    assert common_prefix_length(array("i", a), array("i", b)) == expected


def test_at_least_the_last_token_is_computed_again() -> None:
    pool = CachePool(SHAPE, WINDOW)
    assert use(pool, range(100)) == 0
    assert use(pool, range(100)) == 99
    assert use(pool, range(60)) == 59


def test_typing_on_uses_the_same_cache() -> None:
    pool = CachePool(SHAPE, WINDOW)
    for length in range(500, 520):
        num_reused = use(pool, range(length))
        assert num_reused == (0 if length == 500 else length - 1)
    assert len(pool.idle) == 1


def test_a_long_cache_is_not_truncated_for_a_request_that_shares_little() -> None:
    pool = CachePool(SHAPE, WINDOW)
    talk = range(1000)
    use(pool, talk)
    assert use(pool, [*range(300), 7, 7, 7]) == 300
    assert use(pool, [*range(1000), 5]) == 1000
    assert use(pool, [*range(300), 7, 7, 8]) == 302


def test_a_cache_in_use_is_copied_and_not_changed() -> None:
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
    first, second = mine("first"), mine("second")
    use(pool, range(200))
    assert use(pool, range(200), first) == 0
    assert use(pool, range(200), second) == 0
    assert use(pool, range(200), first) == 199
    assert use(pool, range(200)) == 199


def test_caches_of_a_changed_adapter_are_dropped() -> None:
    pool = CachePool(SHAPE, WINDOW)
    use(pool, range(200), mine(changed=1.0))
    assert use(pool, range(200), mine(changed=2.0)) == 0
    assert len(pool.idle) == 1


def test_a_cache_that_is_a_prefix_of_another_is_dropped() -> None:
    pool = CachePool(SHAPE, WINDOW)
    short = pool.take(range(100), None, 100)
    long = pool.take(range(300), None, 300)
    fill(short, range(100))
    fill(long, range(300))
    pool.give_back(short)
    pool.give_back(long)
    assert len(pool.idle) == 1
    assert use(pool, range(301)) == 300


def test_the_least_recently_used_cache_is_dropped_first() -> None:
    block = BLOCK * SHAPE.bytes_per_row
    pool = CachePool(SHAPE, 3 * block)
    for start in (1000, 2000, 3000):
        use(pool, range(start, start + 100))
    use(pool, range(1000, 1101))
    use(pool, range(4000, 4100))
    assert pool.bytes <= 3 * block
    assert use(pool, range(1000, 1102)) == 101
    assert use(pool, range(2000, 2101)) == 0


def test_a_copied_cache_counts_as_used() -> None:
    pool = CachePool(SHAPE, 4 * BLOCK * SHAPE.bytes_per_row)
    use(pool, range(1000, 1200))
    use(pool, range(2000, 2100))
    assert use(pool, [*range(1000, 1020), 7]) == 20
    for start in (4000, 5000):
        use(pool, range(start, start + 100))
    assert use(pool, range(1000, 1201)) == 200


def test_idle_caches_are_dropped_for_a_growing_cache_in_use() -> None:
    block = BLOCK * SHAPE.bytes_per_row
    pool = CachePool(SHAPE, 4 * block)
    use(pool, range(1000, 1100))
    cache = pool.take(range(50), None, 60)
    fill(cache, range(50))
    pool.reserve(cache, 4 * BLOCK)
    check(cache)
    assert len(pool.idle) == 0
    assert pool.bytes == 4 * block
    assert pool.num_free == 0


def test_a_cache_never_grows_beyond_the_context_window() -> None:
    cache = KVCache(SHAPE)
    cache.reserve(SHAPE.capacity)
    assert cache.rows == SHAPE.capacity
    with pytest.raises(ValueError, match="2001 rows"):
        cache.reserve(SHAPE.capacity + 1)


# The tests below use an arena, where each cache is a slot.


def slots_of(count: int) -> tuple[CachePool, Arena]:
    arena = Arena(SHAPE, count)
    return CachePool(SHAPE, arena.bytes, arena), arena


def test_slots_of_idle_caches_are_used_again() -> None:
    pool, arena = slots_of(2)
    for start in (1000, 2000, 3000):
        assert use(pool, range(start, start + 100)) == 0
    assert len(pool.idle) == 2
    assert arena.num_free == 0
    assert use(pool, range(2000, 2101)) == 100
    assert use(pool, range(1000, 1101)) == 0
    pool.drop_idle()
    assert arena.num_free == 2


def test_a_cache_in_a_slot_never_moves() -> None:
    pool, _ = slots_of(2)
    cache = pool.take(range(10), None, 10)
    addresses = [rows.data_ptr() for rows in (*cache.keys, *cache.values)]
    fill(cache, range(10))
    pool.reserve(cache, SHAPE.capacity)
    assert cache.rows == SHAPE.capacity
    assert [rows.data_ptr() for rows in (*cache.keys, *cache.values)] == addresses
    assert all(rows.is_contiguous() for rows in (*cache.keys, *cache.values))
    check(cache)
    with pytest.raises(ValueError, match="2001 rows"):
        pool.reserve(cache, SHAPE.capacity + 1)


def test_the_last_available_slot_is_truncated_instead_of_copied() -> None:
    pool, _ = slots_of(2)
    busy = pool.take(range(5000, 5010), None, 20)
    fill(busy, range(5000, 5010))
    use(pool, range(1000))
    assert use(pool, [*range(300), 7, 7]) == 300
    assert use(pool, range(1000)) == 300
    assert len(pool.idle) <= 1
    check(busy)


def test_with_another_idle_slot_the_source_of_a_copy_stays() -> None:
    pool, _ = slots_of(2)
    use(pool, range(1000))
    use(pool, range(5000, 5100))
    assert use(pool, [*range(300), 7, 7]) == 300
    assert use(pool, range(1001)) == 1000


def test_there_is_no_space_while_all_slots_are_in_use() -> None:
    pool, arena = slots_of(2)
    in_use = []
    for start in (1000, 2000):
        assert pool.num_free > 0
        in_use.append(pool.take(range(start, start + 50), None, 60))
    assert pool.num_free == 0
    with pytest.raises(OutOfMemoryError, match="All 2 KV caches are in use"):
        pool.take(range(10), None, 20)
    pool.give_back(in_use.pop())  # nothing was written to it
    assert pool.num_free > 0
    assert arena.num_free == 1
    assert len(pool.idle) == 0
    assert use(pool, range(10)) == 0


def test_a_failed_take_frees_its_slot() -> None:
    pool, arena = slots_of(2)
    with pytest.raises(ValueError, match="2001 rows"):
        pool.take(range(10), None, SHAPE.capacity + 1)
    assert arena.num_free == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 700), st.integers(0, 2), st.booleans()),
        max_size=25,
    ),
    st.booleans(),
)
def test_rows_are_right_and_memory_is_bounded_for_any_requests(
    requests: list[tuple[int, int, int, bool]], has_arena: bool
) -> None:
    limit = 6 * BLOCK * SHAPE.bytes_per_row
    pool = CachePool(SHAPE, limit)
    if has_arena:
        pool, _ = slots_of(3)
        limit = 3 * WINDOW
    owners = [None, mine("a"), mine("b")]
    in_use: list[KVCache] = []
    for family, length, owner, keep in requests:
        prompt = [*range(family * 40 + 30), *range(5000 * family, 5000 * family + length)]
        cache = pool.take(prompt, owners[owner], len(prompt) + 5)
        assert list(cache.ids) == prompt[: len(cache.ids)]
        assert len(cache.ids) < len(prompt)
        check(cache)
        fill(cache, prompt[len(cache.ids) :])
        if keep and len(in_use) < 2:
            in_use.append(cache)
        else:
            pool.give_back(cache)
        assert pool.bytes <= max(limit, sum(each.bytes for each in in_use))
        for each in in_use:
            check(each)
