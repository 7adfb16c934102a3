"""The whole engine on static steps; and what of recording only a GPU can show."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.api import GenerationRequest, Priority, Sampling
from engine.decoding.sequence import Part
from engine.kv_cache.arena import largest_arena
from engine.kv_cache.cache import KVCache
from engine.kv_cache.pool import MOST_WINDOWS, default_limit
from engine.loading.adapter_store import install
from engine.loading.load import Loaded, load
from engine.loading.load import load as loading
from engine.local import LocalEngine
from engine.network.cuda_graphs import CudaRecorder, Record, RecordedSteps
from engine.network.static_step import MOST_ROWS
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.loading.test_adapters import make_adapter, note
from tests.engine.network.static import SLOTS, WINDOW, steps_of, with_steps
from tests.engine.scheduling.test_scheduler import Bench, check, ids


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW)


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def model(
    request: pytest.FixtureRequest, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Loaded:
    """With an adapter, `one`."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    made = tmp_path_factory.mktemp("adapter")
    settings = EngineSettings(str(path), device=request.param, dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path_factory.mktemp("shelf")))
        make_adapter(path, made, seed=0)
        install(made, "one", note(path))
        return load(settings, lambda *_: None)


class StaticBench(Bench):
    """A scheduler on an arena, whose steps are taken by hand."""

    def __init__(self, model: Loaded, slots: int = SLOTS, record: Record | None = None) -> None:
        self.model, self.held = model, with_steps(model, slots, record)
        super().__init__(self.held)

    @property
    def steps(self) -> RecordedSteps:
        return steps_of(self.held)

    def ask_a_lot(self) -> None:
        """Let many come at different moments, and one leave."""
        for seed in range(12):
            self.ask(
                GenerationRequest(
                    (*ids(seed % 3, 40 + 100 * (seed % 4)), *ids(seed, 5)),
                    12 + seed,
                    priority=Priority.CHAT if seed % 5 == 4 else Priority.COMPLETION,
                    sampling=Sampling(1.0, seed=seed) if seed % 4 == 3 else Sampling(),
                    draft_tokens=ids(7, 9) if seed % 2 else (),
                    forced_prefix="ret" if seed % 6 == 5 else "",
                    adapter="one" if seed % 4 == 2 else None,
                )
            )
            for _ in range(3):
                self.turn()
        leaving = self.asked[3]
        leaving.job.cancelled.set()
        self.finish()
        for asked in self.asked:
            if asked is not leaving:
                check(self.model, asked)


@pytest.mark.parametrize("slots", [1, 2, 30])
def test_answers_are_those_of_the_plain_path(model: Loaded, slots: int) -> None:
    bench = StaticBench(model, slots)
    bench.ask_a_lot()
    assert bench.held.arena is not None
    assert bench.held.arena.free + bench.scheduler._pool.idle == slots


def test_the_demo_model_writes_what_it_writes_without() -> None:
    plain = load(EngineSettings(device="cpu"), lambda *_: None)
    bench = StaticBench(plain, slots=3)
    tokenizer = plain.decoder.tokenizer
    for text in ("def mean(numbers):\n    ", "class Stack:\n    def __init__(self):\n", "import "):
        bench.ask(GenerationRequest(tuple(tokenizer.encode(text)), 40))
    bench.finish()
    for asked in bench.asked:
        check(plain, asked)


async def test_a_model_is_loaded_onto_an_arena(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """As on a GPU, from the settings to the answer."""
    request = GenerationRequest(ids(1, 60), 30)

    async def answer(engine: LocalEngine) -> list[int]:
        return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]

    settings = EngineSettings(str(path), device="cpu", dtype="float32")
    without = LocalEngine(settings)
    expected = await answer(without)
    await without.aclose()
    monkeypatch.setattr(
        loading,
        "_arena",
        lambda shape, windows: largest_arena(shape, default_limit(shape, windows)),
    )
    engine = LocalEngine(settings)
    assert await answer(engine) == expected
    assert await answer(engine) == expected
    assert engine.metrics().reused_ids == 59
    loaded = await engine._ready()
    assert loaded.arena.slots == MOST_WINDOWS
    assert loaded.decoder.forward.steps is not None
    assert loaded.arena.free == MOST_WINDOWS - 1
    assert engine.metrics().cache_bytes == WINDOW * loaded.cache_shape.bytes_a_row
    await engine.aclose()


def test_who_cannot_record_answers_all_the_same(
    model: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def fails(run: Callable[[], None]) -> Callable[[], None]:
        tried.append(run)
        if len(tried) > 2:
            raise RuntimeError("no graphs here")
        return run

    bench = StaticBench(model, slots=30, record=fails)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        while bench.held.decoder.forward.prepare():
            pass
        bench.ask_a_lot()
    assert len(tried) == 3
    assert [record.message.count("no graphs here") for record in caplog.records] == [1]


def test_who_is_never_idle_records_what_is_asked_for_again_and_again(model: Loaded) -> None:
    bench = StaticBench(model)
    before = bench.steps.left
    asked = bench.ask(GenerationRequest(ids(1, 20), 200))
    bench.finish()
    assert 0 < before - bench.steps.left < 4
    check(model, asked)


def test_it_records_while_nobody_asks_and_answers_who_does(model: Loaded) -> None:
    begun = threading.Event()

    def slow(run: Callable[[], None]) -> Callable[[], None]:
        begun.set()
        time.sleep(0.05)
        return run

    bench = StaticBench(model, record=slow)
    thread = threading.Thread(target=bench.scheduler.run)
    thread.start()
    assert begun.wait(10)
    asked = bench.ask(GenerationRequest(ids(1, 20), 5))
    wait_until(lambda: asked.done)
    assert bench.steps.left > 0  # it did not wait for all of them
    wait_until(lambda: bench.steps.left == 0)
    bench.scheduler._closing.set()
    bench.jobs.put(None)
    thread.join(10)
    assert not thread.is_alive()
    check(model, asked)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_adapters_and_long_prefills_are_computed_in_slots_as_well(model: Loaded) -> None:
    held = with_steps(model)
    steps = held.decoder.forward.steps  # type: ignore[attr-defined]
    cache = held.new_cache()
    assert steps.fits([Part((1,) * MOST_ROWS, cache, 1)])
    assert not steps.fits([Part((1,) * (MOST_ROWS + 1), cache, 1)])
    assert not steps.fits([Part((1,), cache, 1), Part((1,), KVCache(held.cache_shape), 1)])


# What only a GPU can show.


def test_a_recording_that_fails_spoils_neither_those_before_nor_what_comes_after() -> None:
    if not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    record, held = CudaRecorder(), torch.zeros(4, 4, device="cuda")
    weights = torch.eye(4, device="cuda")
    stream = torch.cuda.current_stream()

    def fine() -> None:
        held.copy_(held @ weights + 1)

    def asks_the_host() -> None:
        if held.sum().item() > 0:
            held.zero_()

    replay = record(fine)
    with pytest.raises(RuntimeError):
        record(asks_the_host)
    assert torch.cuda.current_stream() == stream
    held.zero_()
    replay()
    record(fine)()
    assert held.unique().tolist() == [4.0]  # twice while recording anew, and each replay once


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
def test_a_step_never_waits_for_the_device(dtype: Any, recorded: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    held = load(EngineSettings(device="cuda", dtype=dtype), lambda *_: None)
    forward, caches = held.decoder.forward, [held.new_cache() for _ in range(3)]
    with torch.inference_mode():
        while recorded and forward.prepare():
            pass
        for again in range(2):  # the first time, libraries may wait
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error" if again else "default")
            try:
                forward(torch.arange(300) + 20, caches[0])  # a prefill
                caches[0].ids.extend(range(20, 320))
                forward(torch.arange(300) + 20, caches[0])  # with a mask
                forward(torch.tensor((5, 6, 7)), caches[0], last=3)
                forward.batch([Part((5,), cache, 1) for cache in caches])
            finally:
                torch.cuda.set_sync_debug_mode("default")
            del caches[0].ids[:]
