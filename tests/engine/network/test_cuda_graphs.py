"""The whole engine with static steps, and the properties of recording that only a GPU shows."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.stepped_scheduler import SteppedScheduler, finish_preparing, new_cache
from engine.api import GenerationRequest, Priority, Sampling
from engine.kv_cache.arena import largest_arena
from engine.kv_cache.pool import default_limit
from engine.loading import lean_loader
from engine.loading.adapter_store import install
from engine.loading.load import Loaded, load
from engine.local import LocalEngine
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.cuda_graphs import CudaGraphRunner, CudaRecorder, Record
from engine.network.lean_forward import LeanForward
from engine.settings import KV_CACHES, EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.adapters import make_adapter, note
from tests.engine.network.static import SLOTS, WINDOW, with_static_steps
from tests.engine.scheduling.harness import check, ids


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW)


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def loaded(
    request: pytest.FixtureRequest, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Loaded:
    """A model with an adapter, `one`."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    adapter = tmp_path_factory.mktemp("adapter")
    settings = EngineSettings(str(path), device=request.param, dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path_factory.mktemp("shelf")))
        make_adapter(path, adapter, seed=0)
        install(adapter, "one", note(path))
        return load(settings, lambda *_: None)


class StaticScheduler(SteppedScheduler):
    """A scheduler on an arena, whose steps a test takes by hand."""

    def __init__(self, loaded: Loaded, num_slots: int = SLOTS, record: Record | None = None):
        self.loaded = loaded
        self.static = with_static_steps(loaded.model, num_slots, record)
        super().__init__(self.static.model, adapter_of=loaded.adapters.get)

    def run_many(self) -> None:
        """Submit requests at different moments, cancel one, and check the others' output."""
        for seed in range(12):
            self.submit(
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
                self.step()
        cancelled = self.submissions[3]
        cancelled.job.cancelled.set()
        self.finish()
        for submission in self.submissions:
            if submission is not cancelled:
                check(self.loaded, submission)


@pytest.mark.parametrize("num_slots", [1, 2, 30])
def test_output_equals_that_of_the_plain_path(loaded: Loaded, num_slots: int) -> None:
    scheduler = StaticScheduler(loaded, num_slots)
    scheduler.run_many()
    num_idle = len(scheduler.scheduler.pool.idle)
    assert scheduler.static.arena.num_free + num_idle == num_slots


def test_the_demo_model_has_the_same_output_with_static_steps() -> None:
    plain = load(EngineSettings(device="cpu"), lambda *_: None)
    scheduler = StaticScheduler(plain, num_slots=3)
    tokenizer = plain.model.tokenizer
    for text in ("def mean(numbers):\n    ", "class Stack:\n    def __init__(self):\n", "import "):
        scheduler.submit(GenerationRequest(tuple(tokenizer.encode(text)), 40))
    scheduler.finish()
    for submission in scheduler.submissions:
        check(plain, submission)


async def test_a_model_is_loaded_with_an_arena(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """This is what happens on a GPU, from the settings to the output."""
    request = GenerationRequest(ids(1, 60), 30)

    async def output(engine: LocalEngine) -> list[int]:
        return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]

    settings = EngineSettings(str(path), device="cpu", dtype="float32")
    without = LocalEngine(settings)
    expected = await output(without)
    await without.aclose()
    monkeypatch.setattr(
        lean_loader,
        "allocate_arena",
        lambda shape, windows, reserved: largest_arena(shape, default_limit(shape, windows)),
    )
    engine = LocalEngine(settings)
    assert await output(engine) == expected
    assert await output(engine) == expected
    assert engine.metrics().reused_tokens == 59
    model = await engine.model()
    assert model.arena is not None
    assert model.arena.num_slots == KV_CACHES
    assert isinstance(model.forward, LeanForward)
    assert model.forward.graphs is not None
    assert model.arena.num_free == KV_CACHES - 1
    assert engine.metrics().cache_bytes == model.cache_shape.bytes_per_window
    await engine.aclose()


def test_steps_run_also_if_recording_fails(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def fails(run: Callable[[], None]) -> Callable[[], None]:
        attempts.append(run)
        if len(attempts) > 2:
            raise RuntimeError("no graphs here")
        return run

    scheduler = StaticScheduler(loaded, num_slots=30, record=fails)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        finish_preparing(scheduler.static.model.forward)
        scheduler.run_many()
    assert len(attempts) == 3
    assert [record.message.count("no graphs here") for record in caplog.records] == [1]


def test_a_busy_engine_records_the_buckets_that_it_needs_often(loaded: Loaded) -> None:
    scheduler = StaticScheduler(loaded)
    before = scheduler.static.graphs.num_unrecorded
    submission = scheduler.submit(GenerationRequest(ids(1, 20), 200))
    scheduler.finish()
    assert 0 < before - scheduler.static.graphs.num_unrecorded < 4
    check(loaded, submission)


def test_an_idle_engine_records_and_interrupts_it_for_a_request(loaded: Loaded) -> None:
    is_recording, closing = threading.Event(), threading.Event()

    def slow(run: Callable[[], None]) -> Callable[[], None]:
        is_recording.set()
        time.sleep(0.05)
        return run

    scheduler = StaticScheduler(loaded, record=slow)
    graphs: CudaGraphRunner = scheduler.static.graphs
    thread = threading.Thread(target=scheduler.scheduler.run, args=(closing,), daemon=True)
    thread.start()
    try:
        assert is_recording.wait(10)
        submission = scheduler.submit(GenerationRequest(ids(1, 20), 5))
        wait_until(lambda: submission.done)
        assert graphs.num_unrecorded > 0  # the request did not wait for all recordings
        wait_until(lambda: graphs.num_unrecorded == 0)
    finally:
        closing.set()
        scheduler.scheduler.wake()
    thread.join(10)
    assert not thread.is_alive()
    check(loaded, submission)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_only_steps_of_few_rows_in_slots_are_static(loaded: Loaded) -> None:
    static = with_static_steps(loaded.model)
    cache, plain_cache = new_cache(static.model), new_cache(loaded.model)
    adapter = loaded.adapters.get("one")
    assert static.graphs.supports([BatchEntry((1,) * DECODE_ROWS, cache)])
    assert not static.graphs.supports([BatchEntry((1,) * (DECODE_ROWS + 1), cache)])
    assert not static.graphs.supports([BatchEntry((1,), cache, 1, adapter)])
    if plain_cache.slot is None:  # on a GPU every cache is a slot
        entries = [BatchEntry((1,), cache), BatchEntry((1,), plain_cache)]
        assert not static.graphs.supports(entries)


# The tests below need a GPU.


def test_a_failed_recording_does_not_affect_other_recordings() -> None:
    if not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    record, buffer = CudaRecorder(), torch.zeros(4, 4, device="cuda")
    weights = torch.eye(4, device="cuda")
    stream = torch.cuda.current_stream()

    def valid() -> None:
        buffer.copy_(buffer @ weights + 1)

    def asks_the_host() -> None:
        if buffer.sum().item() > 0:
            buffer.zero_()

    replay = record(valid)
    with pytest.raises(RuntimeError):
        record(asks_the_host)
    assert torch.cuda.current_stream() == stream
    buffer.zero_()
    replay()
    record(valid)()
    assert buffer.unique().tolist() == [4.0]  # two warm-ups of the new recording, and two replays


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
def test_a_step_never_waits_for_the_device(dtype: Any, is_recorded: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    model = load(EngineSettings(device="cuda", dtype=dtype), lambda *_: None).model
    forward, caches = model.forward, [new_cache(model) for _ in range(3)]
    prompt = tuple(range(20, 320))
    with torch.inference_mode():
        if is_recorded:
            finish_preparing(forward)
        for attempt in range(2):  # in the first attempt libraries may wait
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error" if attempt else "default")
            try:
                forward([BatchEntry(prompt, caches[0])])  # a prefill
                caches[0].commit(prompt)
                forward([BatchEntry(prompt, caches[0])])  # with a mask
                forward([BatchEntry((5, 6, 7), caches[0], 3)])
                forward([BatchEntry((5,), cache) for cache in caches])
            finally:
                torch.cuda.set_sync_debug_mode("default")
            caches[0].truncate(0)
