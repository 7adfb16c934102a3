"""Buffers of dropped caches are used again or go back to the system, within the pool's limit."""

import mmap
from collections.abc import Sequence

import psutil
import pytest
import torch

from engine.kv_cache.buffers import BufferShelf, new_buffer
from engine.kv_cache.cache import BLOCK, CacheShape
from engine.kv_cache.pool import CachePool

CPU = torch.device("cpu")
SHAPE = CacheShape(2048, kv_heads=1, head_dim=64, devices=(CPU,) * 4, dtype=torch.float32)
BLOCK_BYTES = BLOCK * SHAPE.bytes_per_row


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_buffer_has_its_size_and_type_and_can_be_written(dtype: torch.dtype) -> None:
    buffer = new_buffer((2, 3, 4), dtype, CPU)
    assert buffer.shape == (2, 3, 4)
    assert buffer.dtype is dtype
    buffer.fill_(7)
    assert buffer.sum() == 7 * 24


def test_the_memory_of_a_buffer_goes_back_with_its_last_view() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    view = new_buffer((64, 1 << 20), torch.uint8, CPU).fill_(1)[3:]
    assert process.memory_info().rss > before + (60 << 20)
    assert view.sum() == 61 << 20
    del view
    assert process.memory_info().rss < before + (20 << 20)


def test_memory_that_runs_out_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("engine.kv_cache.buffers.mmap.mmap", no_memory)
    with pytest.raises(MemoryError, match="keys and values"):
        new_buffer((8,), torch.uint8, CPU)


def test_a_shelf_returns_a_buffer_of_the_same_size_only() -> None:
    shelf = BufferShelf()
    small, large = (new_buffer((size,), torch.uint8, CPU) for size in (10, 20))
    shelf.put(small)
    shelf.put(large)
    assert shelf.bytes == 30
    assert shelf.holds(20)
    assert not shelf.holds(15)
    assert shelf.take((15,), torch.uint8, CPU).data_ptr() not in (
        small.data_ptr(),
        large.data_ptr(),
    )
    assert shelf.take((20,), torch.uint8, CPU) is large
    assert shelf.bytes == 10
    assert shelf.release_oldest()
    assert not shelf.release_oldest()


def test_a_pool_in_use_for_long_stays_within_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    num_new = 0

    def counted(size: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        nonlocal num_new
        num_new += 1
        return new_buffer(size, dtype, device)

    monkeypatch.setattr("engine.kv_cache.buffers.new_buffer", counted)
    pool = CachePool(SHAPE, 12 * BLOCK_BYTES)
    for number in range(200):
        length = 100 + 300 * (number % 4)
        cache = pool.take(range(1000 * number, 1000 * number + length), None, length)
        cache.commit(range(1000 * number, 1000 * number + length))
        assert pool.bytes <= 12 * BLOCK_BYTES
        assert pool.num_in_use == 1
        pool.give_back(cache)
    assert pool.bytes >= 8 * BLOCK_BYTES
    assert num_new < 120  # the others were used again
    pool.drop_idle()
    assert (pool.bytes, pool.num_in_use) == (0, 0)


def test_an_unused_buffer_is_released_before_a_cache_is_dropped() -> None:
    pool = CachePool(SHAPE, 6 * BLOCK_BYTES)
    for start, num_blocks in ((1000, 1), (9000, 2)):
        cache = pool.take(range(start, start + 9), None, num_blocks * BLOCK)
        cache.commit(range(start, start + 9))
        if start == 9000:
            pool.reserve(cache, 3 * BLOCK)  # its first buffer of 2 blocks is free now
        pool.give_back(cache)
    assert pool.bytes == 6 * BLOCK_BYTES
    pool.give_back(pool.take(range(5000, 5009), None, BLOCK))
    assert [cache.ids[0] for cache in pool.idle] == [1000, 9000]
    assert pool.bytes <= 6 * BLOCK_BYTES


def test_a_growing_cache_takes_a_buffer_from_the_shelf_and_keeps_its_rows() -> None:
    pool = CachePool(SHAPE, 8 * BLOCK_BYTES)
    first = pool.take(range(500), None, 2 * BLOCK)
    first.commit(range(500))
    pool.give_back(first)
    growing = pool.take(range(9000, 9100), None, BLOCK)
    growing.write(0, 0, torch.full((1, 100, 64), 5.0), torch.full((1, 100, 64), 6.0))
    growing.commit(range(9000, 9100))
    for start in (20_000, 30_000, 40_000, 50_000, 60_000, 70_000):  # drops `first`
        other = pool.take(range(start, start + 10), None, BLOCK)
        other.commit(range(start, start + 10))
        pool.give_back(other)
    pool.reserve(growing, 2 * BLOCK)
    assert growing.rows == 2 * BLOCK
    assert (growing.keys[0][0, :100] == 5.0).all()
    assert (growing.values[0][0, :100] == 6.0).all()
    assert pool.bytes <= 8 * BLOCK_BYTES
