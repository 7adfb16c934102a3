"""What the free memory allows, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ConfigurationError, OutOfMemoryError
from engine.loading import load as loading
from engine.loading import memory_plan as precision
from engine.loading.load import load
from engine.loading.memory_plan import MemoryPlan, candidate_plans
from engine.loading.model_size import Memory, bytes_for_steps, bytes_needed
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint

ONE_B = {
    "n_embd": 2048,
    "n_layer": 24,
    "n_head": 16,
    "n_positions": 8192,
    "vocab_size": 49152,
    "multi_query": True,
}
PARAMETERS = 1_100_000_000


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    def plant(size: int) -> None:
        monkeypatch.setattr(precision, "free_memory", lambda: Memory(size))

    return plant


def best(**settings: Any) -> MemoryPlan:
    return candidate_plans(EngineSettings(**settings), ONE_B, "cpu", PARAMETERS)[0]


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
def test_auto_takes_as_many_bits_as_fit(free: Any, name: str) -> None:
    free(bytes_needed(ONE_B, name, 8192))
    plan = best()
    assert (plan.name, plan.window) == (name, 8192)
    assert ("rather than bfloat16" in plan.reason) is (name != "bfloat16")


def test_then_the_window_shrinks_and_the_user_is_told(free: Any) -> None:
    free(bytes_needed(ONE_B, "int4", 2048))
    plan = best()
    assert (plan.name, plan.window) == ("int4", 2048)
    assert "a window of 2048 rather than 8192" in plan.reason


def test_a_set_format_is_kept_and_only_the_window_shrinks(free: Any) -> None:
    free(bytes_needed(ONE_B, "bfloat16", 4096))
    plan = best(dtype="bfloat16")
    assert (plan.name, plan.window, plan.bits) == ("bfloat16", 4096, None)


def test_on_a_gpu_there_must_be_room_for_recorded_steps_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = bytes_needed(ONE_B, "bfloat16", 8192)
    enough = without + bytes_for_steps(ONE_B, "bfloat16", 8192)
    for size, taken in ((enough, "bfloat16"), (without, "int8")):
        memory = Memory(10**12, (1000, size))
        monkeypatch.setattr(precision, "free_memory", lambda memory=memory: memory)
        plan = candidate_plans(EngineSettings(), ONE_B, "cuda", PARAMETERS)[0]
        assert (plan.name, plan.window) == (taken, 8192)


def test_a_set_window_is_kept(free: Any) -> None:
    free(bytes_needed(ONE_B, "int4", 4096))
    with pytest.raises(OutOfMemoryError):
        best(context_window=8192)
    assert best(context_window=4096).window == 4096


def test_what_does_not_fit_is_refused_before_it_is_loaded(free: Any, tmp_path: Path) -> None:
    free(1000)
    with pytest.raises(OutOfMemoryError, match=r"needs .* free on cpu\. Choose a smaller"):
        load(EngineSettings(model=str(make_checkpoint(tmp_path))), lambda *_: None)


def test_the_estimate_is_near_what_is_taken() -> None:
    weights = 1.137e9  # counted on the module that transformers makes of this shape
    assert 2 * weights < bytes_needed(ONE_B, "bfloat16", 1024) < 2 * weights * 1.1


def test_memory_that_ends_while_loading_leads_to_fewer_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As torch's allocator says it: the estimate was wrong, or another program was faster."""
    real, told = loading.read_weights, []

    def ends(path: Path, config: Any, dtype: Any, bits: Any, *rest: Any) -> Any:
        if bits != 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return real(path, config, dtype, bits, *rest)

    monkeypatch.setattr(loading, "read_weights", ends)
    settings = EngineSettings(model=str(make_checkpoint(tmp_path)))
    loaded = load(settings, lambda doing, _: told.append(doing))
    assert loaded.info.dtype == "int4"
    assert any("int4 rather than float32" in doing for doing in told)
    with pytest.raises(OutOfMemoryError, match="int8"):
        load(EngineSettings(model=settings.model, dtype="float32"), lambda *_: None)


def test_fewer_bits_need_the_lean_forward(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, multi_query=False)
    with pytest.raises(ConfigurationError, match="multi-query"):
        load(EngineSettings(model=str(path), dtype="int8"), lambda *_: None)


def test_quantised_models_take_less(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, n_embd=64, n_layer=4)
    loaded = {
        name: load(EngineSettings(model=str(path), dtype=name), lambda *_: None)  # type: ignore[arg-type]
        for name in ("int8", "int4")
    }
    sizes = {name: one.decoder.forward.weights.tokens.bytes for name, one in loaded.items()}  # type: ignore[attr-defined]
    assert sizes["int4"] < 0.6 * sizes["int8"]
    assert all(one.cache_shape.dtype == torch.float32 for one in loaded.values())
