"""The arena has the number of slots that the memory allows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import OutOfMemoryError
from engine.kv_cache.arena import Arena, largest_arena
from engine.kv_cache.cache import CacheShape
from engine.loading.load import load
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> CacheShape:
    path = make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=70)
    return load(EngineSettings(str(path), device="cpu"), lambda *_: None).model.cache_shape


def test_an_arena_is_as_large_as_memory_allows(
    shape: CacheShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = shape.bytes_per_window
    assert largest_arena(shape, 0).num_slots == 1
    assert largest_arena(shape, 5 * window + 1).num_slots == 5
    real = torch.empty

    def limited(size: tuple[int, ...], **options: Any) -> Tensor:
        if size[3] > 3 * shape.capacity:
            raise torch.OutOfMemoryError("planted")
        return real(size, **options)

    monkeypatch.setattr("engine.kv_cache.arena.torch.empty", limited)
    assert largest_arena(shape, 9 * window).num_slots == 2
    monkeypatch.setattr(
        "engine.kv_cache.arena.torch.empty", lambda size, **options: limited((9, 9, 9, 10**9))
    )
    with pytest.raises(torch.OutOfMemoryError):
        largest_arena(shape, 9 * window)


def test_slots_run_out(shape: CacheShape) -> None:
    arena = Arena(shape, 2)
    first, second = arena.take(), arena.take()
    assert {first.base, second.base} == {0, shape.capacity}
    with pytest.raises(OutOfMemoryError, match="All 2 KV caches are in use"):
        arena.take()
    arena.give_back(first)
    assert arena.take().base == first.base
