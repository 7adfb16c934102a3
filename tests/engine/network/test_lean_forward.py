"""The entries of a batch are computed together by the fastest way that can."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from torch import Tensor

from benchmarks.stepped_scheduler import finish_preparing, new_cache
from engine.kernels.build import KernelBuild
from engine.kv_cache.cache import KVCache
from engine.loading.load import load
from engine.network.backend import MIN_PREFILL_ROWS, Backend
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.fused_step import FusedStep
from engine.network.lora import Adapter
from engine.network.model import LoadedModel
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint

NUM_LAYERS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model whose sizes suit the CPU kernels."""
    if KernelBuild().wait(timeout=120) is None:
        pytest.skip("optional: needs a C++ compiler")
    path = make_checkpoint(tmp_path_factory.mktemp("model"), n_embd=64, n_layer=NUM_LAYERS)
    model = load(EngineSettings(str(path), device="cpu"), lambda *_: None).model
    finish_preparing(model.forward)
    return model


@pytest.fixture
def fused_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of rows of the steps that the CPU kernels compute."""
    num_rows: list[int] = []
    compute = FusedStep.__call__

    def counted(
        step: FusedStep, ids: Tensor, places: Sequence[tuple[KVCache, int]], rows: Sequence[int]
    ) -> Tensor:
        num_rows.append(len(ids))
        return compute(step, ids, places, rows)

    monkeypatch.setattr(FusedStep, "__call__", counted)
    return num_rows


def test_an_adapter_does_not_slow_the_other_sequences_of_a_batch(
    model: LoadedModel, fused_rows: list[int]
) -> None:
    adapter = Adapter("mine", ({},) * NUM_LAYERS, None, 0.0)
    model.forward(
        [
            BatchEntry((20, 21), new_cache(model)),
            BatchEntry((22,), new_cache(model), adapter=adapter),
            BatchEntry((23,), new_cache(model)),
        ]
    )
    assert fused_rows == [3]


def test_entries_of_few_rows_share_steps_that_the_kernels_can_compute(
    model: LoadedModel, fused_rows: list[int]
) -> None:
    sizes = (DECODE_ROWS - 2, 2, 1, DECODE_ROWS)
    logits = model.forward(
        [BatchEntry((20,) * size, new_cache(model), num_logits=size) for size in sizes]
    )
    assert tuple(map(len, logits)) == sizes
    assert fused_rows == [DECODE_ROWS, 1, DECODE_ROWS]


@pytest.mark.parametrize(
    ("num_rows", "is_prefill"), [(MIN_PREFILL_ROWS - 1, False), (MIN_PREFILL_ROWS, True)]
)
def test_steps_of_many_rows_use_the_threads_of_a_prefill(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, num_rows: int, is_prefill: bool
) -> None:
    num_prefills = 0

    @contextmanager
    def counted(_: Backend) -> Iterator[None]:
        nonlocal num_prefills
        num_prefills += 1
        yield

    monkeypatch.setattr(Backend, "prefill_threads", counted)
    model.forward([BatchEntry((20,) * num_rows, new_cache(model))])
    assert num_prefills == is_prefill
