"""Steps compute with Triton's kernels if these can be used, and else with torch."""

import logging
import sys
from dataclasses import replace

import pytest
import torch

from engine import kernels
from engine.kv_cache.arena import Arena
from engine.loading.load import load
from engine.loading.on_disk import EMBEDDED_DIR
from engine.network.lean_forward import LeanForward
from engine.network.step_operations import TorchOperations, TritonOperations, step_operations
from engine.network.weights import Weights
from engine.settings import EngineSettings


@pytest.fixture(scope="module")
def arena_and_weights() -> tuple[Arena, Weights]:
    settings = EngineSettings(str(EMBEDDED_DIR), device="cpu", dtype="float32")
    model = load(settings, lambda *_: None).model
    assert isinstance(model.forward, LeanForward)
    return Arena(model.cache_shape, 1), model.forward.weights


@pytest.fixture
def arena(arena_and_weights: tuple[Arena, Weights]) -> Arena:
    return arena_and_weights[0]


@pytest.fixture
def cpu_weights(arena_and_weights: tuple[Arena, Weights]) -> Weights:
    return arena_and_weights[1]


@pytest.fixture
def cuda_weights(cpu_weights: Weights) -> Weights:
    return replace(cpu_weights, device=torch.device("cuda"))


def test_without_triton_one_warning_is_logged(
    arena: Arena,
    cuda_weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delattr(kernels, "triton_step", raising=False)
    monkeypatch.delitem(sys.modules, "engine.kernels.triton_step", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with caplog.at_level(logging.WARNING):
        assert isinstance(step_operations(cuda_weights, arena), TorchOperations)
    assert len(caplog.records) == 1
    assert "Triton's kernels cannot be used" in caplog.text


def test_if_compiling_fails_one_warning_gives_the_reason(
    arena: Arena,
    cuda_weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("triton", reason="optional: needs Triton")

    def fail(_: TritonOperations) -> None:
        raise RuntimeError("there is no C compiler")

    monkeypatch.setattr(TritonOperations, "prepare", fail)
    with caplog.at_level(logging.WARNING):
        assert isinstance(step_operations(cuda_weights, arena), TorchOperations)
    assert [record.getMessage().count("no C compiler") for record in caplog.records] == [1]


def test_on_a_gpu_the_kernels_are_compiled_for_the_model(
    arena: Arena, cuda_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="optional: needs Triton")
    prepared: list[TritonOperations] = []
    monkeypatch.setattr(TritonOperations, "prepare", lambda self: prepared.append(self))
    operations = step_operations(cuda_weights, arena)
    assert isinstance(operations, TritonOperations)
    assert prepared == [operations]


def test_on_a_cpu_steps_compute_with_torch(
    arena: Arena, cpu_weights: Weights, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert isinstance(step_operations(cpu_weights, arena), TorchOperations)
    assert not caplog.records
