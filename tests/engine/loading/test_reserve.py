"""An engine leaves memory free for the model that another engine will load."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import OutOfMemoryError
from engine.kv_cache import pool
from engine.kv_cache.cache import CacheShape
from engine.kv_cache.pool import default_limit
from engine.loading import memory_plan, reserve
from engine.loading.load import load
from engine.loading.memory_plan import MemoryPlan, candidate_plans, sizes_needed
from engine.loading.model_size import bytes_for_steps, bytes_needed
from engine.loading.reserve import plans_with_reserve, reserved_sizes
from engine.machine import Memory
from engine.settings import EngineSettings
from tests.checkpoint_maker import edit_json, make_checkpoint
from tests.engine.loading.shapes import ONE_B, ONE_B_CONFIG


def set_free_memory(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    for module in (memory_plan, reserve, pool):
        monkeypatch.setattr(module, "free_memory", lambda: memory)


def plans_for(reserved: int) -> list[MemoryPlan]:
    return candidate_plans(EngineSettings(), ONE_B_CONFIG, ONE_B, "cpu", reserved)


def size_of(dtype: str, window: int = 8192) -> int:
    return bytes_needed(ONE_B, dtype, window)


def test_a_plan_leaves_the_reserved_bytes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free_memory(monkeypatch, Memory(size_of("bfloat16") + 1000))
    assert plans_for(1000)[0].name == "bfloat16"
    assert plans_for(1001)[0].name == "int8"
    with pytest.raises(OutOfMemoryError):
        plans_for(size_of("bfloat16") + 1000)


@pytest.mark.parametrize(
    ("formats", "chosen"),
    [
        (("bfloat16", "bfloat16"), ("bfloat16", "bfloat16")),
        (("bfloat16", "int8"), ("bfloat16", "int8")),  # this model gets the better format
        (("int8", "int8"), ("int8", "int8")),  # rather than bfloat16 for one, int4 for the other
        (("bfloat16", "int4"), ("int8", "int8")),
        (("int8", "int4"), ("int8", "int4")),
        (("int4", "int4"), ("int4", "int4")),
    ],
)
def test_the_worse_of_the_two_formats_is_as_good_as_possible(
    monkeypatch: pytest.MonkeyPatch, formats: tuple[str, str], chosen: tuple[str, str]
) -> None:
    set_free_memory(monkeypatch, Memory(sum(map(size_of, formats))))
    sizes = [size_of("bfloat16"), size_of("int8"), size_of("int4")]
    plans, left_free = plans_with_reserve(plans_for, sizes)
    assert plans[0].window == 8192
    assert (plans[0].name, left_free) == (chosen[0], size_of(chosen[1]))


def test_the_window_shrinks_before_the_other_model_gets_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_free_memory(monkeypatch, Memory(size_of("int4")))
    size = size_of("int4") - size_of("int4", 4096)
    plans, left_free = plans_with_reserve(plans_for, [2 * size, size])
    assert (plans[0].name, plans[0].window, left_free) == ("int4", 4096, size)


def test_a_model_runs_also_if_the_other_gets_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free_memory(monkeypatch, Memory(size_of("int8")))
    plans, left_free = plans_with_reserve(plans_for, [size_of("bfloat16"), size_of("int8")])
    assert (plans[0].name, plans[0].window, left_free) == ("int8", 8192, 0)


def test_a_model_that_does_not_fit_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free_memory(monkeypatch, Memory(1000))
    with pytest.raises(OutOfMemoryError):
        plans_with_reserve(plans_for, [10])


def test_sizes_include_the_steps_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sizes = sizes_needed(EngineSettings(dtype="int8"), ONE_B_CONFIG, ONE_B, "cuda")
    assert sizes == [size_of("int8") + bytes_for_steps(ONE_B, "int8", 8192)]
    sizes = sizes_needed(EngineSettings(), ONE_B_CONFIG, ONE_B, "cpu")
    assert sizes == [size_of(dtype) for dtype in ("bfloat16", "int8", "int4")]


def test_both_models_fit_after_the_first_is_planned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With memory for two int8 models, neither is loaded in bfloat16."""
    make_checkpoint(tmp_path)
    edit_json(tmp_path / "config.json", **ONE_B_CONFIG)
    free = size_of("int8") + size_of("int8") + 1000
    set_free_memory(monkeypatch, Memory(free))
    assert plans_for(0)[0].name == "bfloat16"
    settings = EngineSettings(reserve_for=str(tmp_path))
    first, _ = plans_with_reserve(plans_for, reserved_sizes(settings, "cpu"))
    set_free_memory(monkeypatch, Memory(free - size_of(first[0].name)))
    second = plans_for(0)
    assert (first[0].name, second[0].name) == ("int8", "int8")
    assert first[0].window == second[0].window == 8192


def test_on_a_second_gpu_with_room_nothing_needs_to_stay_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    make_checkpoint(tmp_path)
    settings = EngineSettings(reserve_for=str(tmp_path))
    (size, *_) = reserved_sizes(settings, "cuda")
    for gpus, is_reserved in (
        ((size,), True),
        ((10 * size, size - 1), True),
        ((size, 10 * size), False),
    ):
        set_free_memory(monkeypatch, Memory(10**12, gpus))
        assert bool(reserved_sizes(settings, "cuda")) is is_reserved
    assert reserved_sizes(settings, "cpu")


@pytest.mark.parametrize("model", [None, "no-such/model", "/nowhere", "~nobody/model"])
def test_a_model_that_is_not_on_disk_reserves_nothing(model: str | None) -> None:
    assert reserved_sizes(EngineSettings(reserve_for=model), "cpu") == []


def test_the_other_models_files_count_if_its_size_cannot_be_computed(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    edit_json(tmp_path / "config.json", n_embd=None)
    size = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert reserved_sizes(EngineSettings(reserve_for=str(tmp_path)), "cpu") == [size]


def test_a_damaged_other_model_reserves_nothing(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "other")
    edit_json(tmp_path / "other" / "config.json", n_head=0)
    settings = EngineSettings(
        model=str(make_checkpoint(tmp_path / "own")),
        device="cpu",
        reserve_for=str(tmp_path / "other"),
    )
    assert load(settings, lambda *_: None).model.reserved == 0


def test_the_settings_of_the_own_model_do_not_apply_to_the_other(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, n_positions=512)
    plain = EngineSettings(reserve_for=str(tmp_path))
    own = EngineSettings(reserve_for=str(tmp_path), context_window=1024, draft_model="x")
    assert reserved_sizes(own, "cpu") == reserved_sizes(plain, "cpu") != []


def test_kv_caches_leave_the_reserved_bytes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = CacheShape(1024, 1, 64, (torch.device("cpu"),) * 2, torch.float32)
    gpu = CacheShape(1024, 1, 64, (torch.device("cuda", 1),) * 2, torch.float32)
    window = cpu.bytes_per_window
    set_free_memory(monkeypatch, Memory(100 * window, (0, 20 * window)))
    assert (default_limit(cpu), default_limit(gpu)) == (10 * window, 10 * window)
    assert default_limit(cpu, reserved=50 * window) == 5 * window
    assert default_limit(gpu, reserved=10 * window) == 5 * window
    # One cache must fit in any case.
    assert default_limit(gpu, reserved=30 * window) == window


@pytest.mark.parametrize("multi_query", [True, False])
def test_a_loaded_model_knows_how_much_its_caches_leave_free(
    tmp_path: Path, multi_query: bool
) -> None:
    model = make_checkpoint(tmp_path / "model", multi_query=multi_query)
    other = str(make_checkpoint(tmp_path / "other", n_layer=3))
    settings: dict[str, Any] = {"model": str(model), "device": "cpu"}
    loaded = load(EngineSettings(**settings, reserve_for=other), lambda *_: None)
    assert loaded.model.reserved == max(
        reserved_sizes(EngineSettings(reserve_for=other, device="cpu"), "cpu")
    )
    assert load(EngineSettings(**settings), lambda *_: None).model.reserved == 0
