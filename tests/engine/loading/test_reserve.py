"""An engine leaves memory free for the model that another engine will load."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

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
from engine.model_config import require_architecture
from engine.settings import EngineSettings
from tests.checkpoint_maker import edit_json, make_checkpoint
from tests.engine.loading.shapes import ONE_B, ONE_B_CONFIG, STARCODER_CONFIG, qwen2_config


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


@pytest.mark.parametrize(
    "model",
    [
        None,
        "no-such/model",
        "/nowhere-7b",
        "~nobody/model-7b",
        "./model-7b",
        "org/model-7b.gguf",
        "ollama:model:7b",
        "a/b/model-7b",
    ],
)
def test_a_model_of_unknown_size_or_that_never_arrives_reserves_nothing(model: str | None) -> None:
    assert reserved_sizes(EngineSettings(reserve_for=model), "cpu") == []


def test_a_model_that_will_be_downloaded_reserves_by_its_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = EngineSettings(reserve_for="no-such/model-7B-Instruct", context_window=1024)
    weights = 7e9
    assert reserved_sizes(settings, "cpu") == pytest.approx(
        [1.3 * weights * 2, 1.3 * weights * 1.01, 1.3 * weights * 0.7]
    )
    int8 = replace(settings, dtype="int8")
    assert reserved_sizes(int8, "cpu") == pytest.approx([1.3 * weights * 1.01])
    small = replace(settings, reserve_for="no-such/model-135M")
    assert reserved_sizes(small, "cpu")[0] == pytest.approx(1.3 * 135e6 * 4)  # float32
    assert "by its name" in caplog.text
    caplog.clear()
    # Without a connection it never arrives.
    assert reserved_sizes(replace(settings, offline=True), "cpu") == []
    assert "not on this machine" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert reserved_sizes(settings, "cpu") == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    caplog.clear()
    assert reserved_sizes(EngineSettings(reserve_for="no-such/model"), "cpu") == []
    assert "does not state its size" in caplog.text


def test_a_second_gpu_may_have_room_for_a_model_that_will_be_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = EngineSettings(reserve_for="no-such/model-7b")
    set_free_memory(monkeypatch, Memory(10**12, (10**11,)))
    size, *_ = sizes = reserved_sizes(settings, "cuda")
    assert sizes == [size + 900_000_000 for size in reserved_sizes(settings, "cpu")]
    set_free_memory(monkeypatch, Memory(10**12, (10**11, size - 1)))
    assert reserved_sizes(settings, "cuda") == sizes
    set_free_memory(monkeypatch, Memory(10**12, (10**11, size)))
    assert reserved_sizes(settings, "cuda") == []
    assert reserved_sizes(EngineSettings(reserve_for="no-such/model"), "cuda") == []


def test_a_folder_without_a_model_reserves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "model-7b").mkdir(parents=True)
    settings = EngineSettings(reserve_for="org/model-7b")
    assert reserved_sizes(settings, "cpu") != []
    monkeypatch.chdir(tmp_path)
    assert reserved_sizes(settings, "cpu") == []


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("starchat-beta", STARCODER_CONFIG),
        ("Qwen2.5-Coder-7B-Instruct", qwen2_config(3584, 18944, 28, 28, 4)),
        ("Qwen2.5-Coder-14B-Instruct", qwen2_config(5120, 13824, 48, 40, 8)),
        ("Qwen2.5-Coder-32B-Instruct", qwen2_config(5120, 27648, 64, 40, 8)),
    ],
)
def test_the_size_by_name_is_nearly_that_of_the_config(name: str, config: dict[str, Any]) -> None:
    by_name = reserved_sizes(EngineSettings(reserve_for=f"no-such/{name}"), "cpu")
    architecture = require_architecture(config)
    for estimate, size in zip(
        by_name, sizes_needed(EngineSettings(), config, architecture, "cpu"), strict=True
    ):
        assert 0.97 * size < estimate < 1.25 * size


def test_the_own_model_is_smaller_if_the_other_will_be_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With memory for one model in bfloat16 and the other in int8, both will fit."""
    other = EngineSettings(reserve_for="no-such/model-3b")
    set_free_memory(monkeypatch, Memory(size_of("bfloat16") + reserved_sizes(other, "cpu")[1]))
    plans, left_free = plans_with_reserve(plans_for, reserved_sizes(other, "cpu"))
    assert (plans[0].name, left_free) == ("bfloat16", reserved_sizes(other, "cpu")[1])
    set_free_memory(monkeypatch, Memory(size_of("int8") + reserved_sizes(other, "cpu")[1]))
    assert plans_for(0)[0].name == "bfloat16"
    plans, left_free = plans_with_reserve(plans_for, reserved_sizes(other, "cpu"))
    assert (plans[0].name, left_free) == ("int8", reserved_sizes(other, "cpu")[1])


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
