"""The memory plan that fits the free memory, and the reason shown to the user."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ConfigurationError, OutOfMemoryError
from engine.loading import lean_loader, memory_plan
from engine.loading.load import load
from engine.loading.memory_plan import MemoryPlan, candidate_plans
from engine.loading.model_size import BYTES_PER_WEIGHT, bytes_for_steps, bytes_needed, weight_bytes
from engine.machine import Memory
from engine.model_config import require_architecture
from engine.network.lean_forward import LeanForward
from engine.network.quantised import Quantised
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.loading.shapes import ONE_B, ONE_B_CONFIG

SetFreeMemory = Callable[[int], None]


@pytest.fixture
def set_free_memory(monkeypatch: pytest.MonkeyPatch) -> SetFreeMemory:
    def replace(size: int) -> None:
        monkeypatch.setattr(memory_plan, "free_memory", lambda: Memory(size))

    return replace


def best_plan(**settings: Any) -> MemoryPlan:
    return candidate_plans(EngineSettings(**settings), ONE_B_CONFIG, ONE_B, "cpu")[0]


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
def test_auto_uses_the_most_bits_that_fit(set_free_memory: SetFreeMemory, name: str) -> None:
    set_free_memory(bytes_needed(ONE_B, name, 8192))
    plan = best_plan()
    assert (plan.name, plan.window) == (name, 8192)
    assert ("instead of bfloat16" in plan.reason) is (name != "bfloat16")


def test_below_4_bits_the_window_shrinks_and_the_user_is_informed(
    set_free_memory: SetFreeMemory,
) -> None:
    set_free_memory(bytes_needed(ONE_B, "int4", 2048))
    plan = best_plan()
    assert (plan.name, plan.window) == ("int4", 2048)
    assert "a window of 2048 instead of 8192" in plan.reason


def test_a_dtype_from_the_settings_is_kept_and_the_window_shrinks(
    set_free_memory: SetFreeMemory,
) -> None:
    set_free_memory(bytes_needed(ONE_B, "bfloat16", 4096))
    plan = best_plan(dtype="bfloat16")
    assert (plan.name, plan.window, plan.bits) == ("bfloat16", 4096, None)


def test_on_a_gpu_recorded_steps_need_memory_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = bytes_needed(ONE_B, "bfloat16", 8192)
    enough = without + bytes_for_steps(ONE_B, "bfloat16", 8192)
    for size, expected in ((enough, "bfloat16"), (without, "int8")):
        memory = Memory(10**12, (1000, size))
        monkeypatch.setattr(memory_plan, "free_memory", lambda memory=memory: memory)
        plan = candidate_plans(EngineSettings(), ONE_B_CONFIG, ONE_B, "cuda")[0]
        assert (plan.name, plan.window) == (expected, 8192)


@pytest.mark.parametrize(
    ("device", "own", "dtype", "expected"),
    [
        ("cpu", "int8", "auto", "int8"),
        ("cpu", "int8", "bfloat16", "bfloat16"),
        ("cpu", None, "auto", "bfloat16"),
        ("cpu", "pickle", "auto", "bfloat16"),
        ("cuda", "int8", "auto", "bfloat16"),
    ],
)
def test_a_model_may_name_its_number_format_for_cpus(
    monkeypatch: pytest.MonkeyPatch, device: str, own: str | None, dtype: Any, expected: str
) -> None:
    monkeypatch.setattr(memory_plan, "free_memory", lambda: Memory(10**12, (10**12,)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    config = ONE_B_CONFIG if own is None else {**ONE_B_CONFIG, "cpu_dtype": own}
    plans = candidate_plans(EngineSettings(dtype=dtype), config, ONE_B, device)
    assert plans[0].name == expected
    assert plans[0].reason == ""


def test_a_window_from_the_settings_is_kept(set_free_memory: SetFreeMemory) -> None:
    set_free_memory(bytes_needed(ONE_B, "int4", 4096))
    with pytest.raises(OutOfMemoryError):
        best_plan(context_window=8192)
    assert best_plan(context_window=4096).window == 4096


LONG_CONFIG = {
    "model_type": "llama",
    "vocab_size": 32016,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 16384,
}
"""Code Llama 7B, whose KV cache takes 8.6 GB with its full context window."""
LONG = require_architecture(LONG_CONFIG)


@pytest.mark.parametrize(
    ("name", "window"),
    [("bfloat16", 16384), ("bfloat16", 8192), ("int8", 16384), ("int8", 8192), ("int4", 4096)],
)
def test_a_long_window_shrinks_before_bits_and_a_usual_one_after(
    set_free_memory: SetFreeMemory, name: str, window: int
) -> None:
    set_free_memory(bytes_needed(LONG, name, window))
    plan = candidate_plans(EngineSettings(), LONG_CONFIG, LONG, "cpu")[0]
    assert plan.window == window
    # A window of 16,384 in int8 needs more memory than one of 8,192 in bfloat16.
    assert plan.name == name or bytes_needed(LONG, plan.name, window) <= bytes_needed(
        LONG, name, window
    )


def test_a_longer_window_needs_a_longer_cache_and_table_of_rotations() -> None:
    longer = bytes_needed(LONG, "bfloat16", 16384) - bytes_needed(LONG, "bfloat16", 8192)
    cache, rotations = 8192 * 2 * 32 * 4096 * 2, 8192 * 128 * 4
    assert cache + rotations <= longer <= cache + 1.1 * rotations


def test_a_model_that_does_not_fit_is_refused_before_loading(
    set_free_memory: SetFreeMemory, tmp_path: Path
) -> None:
    set_free_memory(1000)
    with pytest.raises(OutOfMemoryError, match=r"needs .* free on cpu\. Choose a smaller"):
        load(EngineSettings(model=str(make_checkpoint(tmp_path))), lambda *_: None)


def test_the_estimate_is_close_to_the_real_size() -> None:
    weights = 1.137e9  # counted on transformers' module of this shape
    assert 2 * weights < bytes_needed(ONE_B, "bfloat16", 1024) < 2 * weights * 1.1


def test_running_out_of_memory_while_loading_leads_to_fewer_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The estimate may be wrong, or another program may take the memory first."""
    read_weights, reported = lean_loader.read_weights, []

    def run_out_of_memory(files: Any, architecture: Any, target: Any, report: Any) -> Any:
        if target.bits != 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return read_weights(files, architecture, target, report)

    monkeypatch.setattr(lean_loader, "read_weights", run_out_of_memory)
    settings = EngineSettings(model=str(make_checkpoint(tmp_path)))
    loaded = load(settings, lambda work, _: reported.append(work))
    assert loaded.model.info.dtype == "int4"
    assert any("int4 instead of float32" in work for work in reported)
    with pytest.raises(OutOfMemoryError, match="int8"):
        load(EngineSettings(model=settings.model, dtype="float32"), lambda *_: None)


def test_fewer_bits_need_the_lean_forward_pass(tmp_path: Path) -> None:
    settings = EngineSettings(model=str(make_checkpoint(tmp_path)), device="balanced")
    with pytest.raises(ConfigurationError, match="computes itself"):
        load(replace(settings, dtype="int8"), lambda *_: None)


def test_quantised_models_take_less_memory(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, n_embd=64, n_layer=4)
    sizes = {}
    for dtype in ("int8", "int4"):
        model = load(EngineSettings(model=str(path), dtype=dtype), lambda *_: None).model  # type: ignore[arg-type]
        assert isinstance(model.forward, LeanForward)
        weights = model.forward.weights
        products = [product for layer in weights.layers for product in layer.products.values()]
        tables = (*products, weights.tokens)
        assert all(isinstance(table, Quantised) for table in tables)
        sizes[dtype] = sum(table.bytes for table in tables if isinstance(table, Quantised))
        # Positions are not quantised; and the padding of small matrices takes some bytes.
        positions = 64 * weights.architecture.positions * BYTES_PER_WEIGHT[dtype]
        expected = weight_bytes(weights.architecture, dtype) - positions
        assert sizes[dtype] == pytest.approx(expected, rel=0.05)
        assert model.cache_shape.dtype == torch.float32
    assert sizes["int4"] < 0.75 * sizes["int8"]  # embeddings have 8 bits in both
