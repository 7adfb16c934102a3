"""Answers that are computed together are those that each gets alone, whoever comes and goes."""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.api import Chunk, EngineMetrics, FinishReason, GenerationRequest, Priority, Sampling
from engine.errors import OutOfMemoryError, PromptTooLongError, RequestError, StarcoderError
from engine.kernels.build import shared_kernels
from engine.kv_cache.cache import KVCache
from engine.loading.adapter_store import install
from engine.loading.load import Loaded, load
from engine.network.lean_forward import LeanForward
from engine.network.step_costs import StepCosts
from engine.scheduling.job import DONE, Job
from engine.scheduling.scheduler import Scheduler
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.loading.test_adapters import make_adapter, note

WINDOW = 512


class Inline:
    """Stands in for an event loop: hands over at once."""

    def call_soon_threadsafe(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)


@dataclass
class Asked:
    """A request that was put to a scheduler."""

    request: GenerationRequest
    job: Job

    @property
    def got(self) -> list[Any]:
        held = self.job.answers
        while not held.empty():
            self._got.append(held.get_nowait())
        return self._got

    _got: list[Any] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return bool(self.got) and self.got[-1] is DONE

    @property
    def chunks(self) -> list[Chunk]:
        return [one for one in self.got if isinstance(one, Chunk)]

    @property
    def ids(self) -> list[int]:
        return [id_ for chunk in self.chunks for id_ in chunk.ids]

    @property
    def errors(self) -> list[Exception]:
        return [one for one in self.got if isinstance(one, Exception)]


class Bench:
    """A scheduler whose steps are taken by hand."""

    def __init__(self, loaded: Loaded) -> None:
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.metrics = EngineMetrics()
        self.scheduler = Scheduler(loaded, self.jobs, threading.Event(), self.metrics)
        self.asked: list[Asked] = []
        self._loop: Any = Inline()

    def ask(self, request: GenerationRequest) -> Asked:
        def work(decoder: Any, cache: Any, give: Any) -> Any:
            return decoder.answer(request, cache, give)

        job = Job(
            work,
            request.prompt,
            request.priority,
            len(self.asked),
            self._loop,
            request.adapter,
            request.max_new_tokens,
        )
        self.asked.append(Asked(request, job))
        self.jobs.put(job)
        return self.asked[-1]

    @property
    def busy(self) -> bool:
        return not all(asked.done for asked in self.asked)

    def turn(self) -> None:
        if self.busy:
            with torch.inference_mode():
                self.scheduler.turn()

    def finish(self, most: int = 3000) -> None:
        for _ in range(most):
            if not self.busy:
                return
            self.turn()
        raise AssertionError("it never ends")


@pytest.fixture(scope="module", params=["torch", "kernels"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that torch computes, and one whose sides suit the kernels."""
    if request.param == "kernels" and shared_kernels().wait(timeout=120) is None:
        pytest.skip("optional: needs a C++ compiler")
    width = {"torch": 32, "kernels": 64}[request.param]
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW, n_embd=width)


@pytest.fixture(scope="module")
def model(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """With two adapters, `one` and `other`."""
    shelf = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARCODER_LSP_ADAPTERS", str(shelf))
        for seed, name in enumerate(("one", "other")):
            made = tmp_path_factory.mktemp(name)
            make_adapter(path, made, seed=seed)
            install(made, name, note(path))
        loaded = load(EngineSettings(model=str(path), device="cpu"), lambda *_: None)
    assert isinstance(loaded.decoder.forward, LeanForward)
    assert loaded.decoder.forward._may_fuse is (loaded.cache_shape.head_dim == 16)
    return loaded


def alone(model: Loaded, request: GenerationRequest) -> list[Chunk]:
    """The plain path: one request, an empty cache, no drafts, no kernels."""
    forward = model.decoder.forward
    assert isinstance(forward, LeanForward)
    plain_forward = LeanForward(forward.weights)
    plain_forward._may_fuse = False
    decoder = replace(model.decoder, forward=plain_forward)
    adapter = None if request.adapter is None else model.adapters.get(request.adapter)
    cache, plain = KVCache(model.cache_shape, adapter), replace(request, draft_tokens=())
    return list(decoder.generate(plain, cache, lambda: False))


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def check(model: Loaded, asked: Asked) -> None:
    expected = alone(model, asked.request)
    assert not asked.errors
    assert asked.ids == [id_ for chunk in expected for id_ in chunk.ids]
    assert text_of(asked.chunks) == text_of(expected)
    assert [chunk.finish for chunk in asked.chunks][-1] == expected[-1].finish
    assert [chunk.finish for chunk in asked.chunks[:-1]] == [None] * (len(asked.chunks) - 1)


def ids(seed: int, count: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(30, 360, (count,), generator=generator).tolist())


def test_answers_together_are_those_alone(model: Loaded) -> None:
    bench = Bench(model)
    asked = [bench.ask(GenerationRequest(ids(seed, 20 + 30 * seed), 25)) for seed in range(8)]
    bench.finish()
    for one in asked:
        check(model, one)


def test_they_are_computed_in_one_pass(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = model.decoder.forward
    real = forward.batch

    def counting(parts: Any) -> Any:
        sizes.append(len(parts))
        return real(parts)

    monkeypatch.setattr(forward, "batch", counting)
    bench = Bench(model)
    for seed in range(6):
        bench.ask(GenerationRequest(ids(seed, 12), 10))
    bench.finish()
    assert sizes[0] == 6
    assert len(sizes) <= 10


PROMPTS = st.builds(
    lambda stem, kept, seed, more: (*ids(stem, 200)[:kept], *ids(100 + seed, more)),
    st.integers(0, 1),
    st.sampled_from([0, 5, 60, 200]),
    st.integers(0, 3),
    st.sampled_from([1, 3, 40, 150]),
)
REQUESTS = st.builds(
    GenerationRequest,
    prompt=PROMPTS,
    max_new_tokens=st.sampled_from([1, 7, 30]),
    stop_text=st.sampled_from([(), ("e",)]),
    sampling=st.sampled_from([Sampling(), Sampling(1.0, seed=3), Sampling(repetition_penalty=1.3)]),
    priority=st.sampled_from(Priority),
    logprobs=st.sampled_from([None, 0, 2]),
    adapter=st.sampled_from([None, "one", "other"]),
    draft_tokens=st.sampled_from([(), ids(7, 9)]),
    forced_prefix=st.sampled_from(["", "", "ret", "é"]),
)
ACTIONS = st.lists(
    st.one_of(
        REQUESTS,
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("turns"), st.integers(1, 12)),
    ),
    max_size=14,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS)
def test_whoever_comes_and_goes(model: Loaded, actions: list[Any]) -> None:
    bench, cancelled = Bench(model), set()
    for action in actions:
        if isinstance(action, GenerationRequest):
            bench.ask(action)
        elif action[0] == "turns":
            for _ in range(action[1]):
                bench.turn()
        elif bench.asked:
            at = action[1] % len(bench.asked)
            if not bench.asked[at].done:
                cancelled.add(at)
                bench.asked[at].job.cancelled.set()
    bench.finish()
    for at, asked in enumerate(bench.asked):
        if at in cancelled:
            assert not asked.errors
        else:
            check(model, asked)
        assert asked.got.count(DONE) == 1


def test_log_probabilities_are_those_alone(model: Loaded) -> None:
    bench = Bench(model)
    for seed in range(4):
        bench.ask(GenerationRequest(ids(seed, 40), 12, logprobs=2))
    bench.finish()
    for asked in bench.asked:
        told = [score for chunk in asked.chunks for score in chunk.logprobs]
        expected = [s for chunk in alone(model, asked.request) for s in chunk.logprobs]
        assert [score.id for score in told] == [score.id for score in expected]
        for one, other in zip(told, expected, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
            assert [id_ for id_, _ in one.top] == [id_ for id_, _ in other.top]


def test_a_cancelled_answer_leaves_at_once_and_its_rows_stay(model: Loaded) -> None:
    bench = Bench(model)
    first = bench.ask(GenerationRequest(ids(1, 100), 200))
    other = bench.ask(GenerationRequest(ids(2, 20), 40))
    for _ in range(10):
        bench.turn()
    first.job.cancelled.set()
    bench.turn()
    assert first.done
    assert not other.done
    written = first.ids
    again = bench.ask(GenerationRequest((*ids(1, 100), *written), 5))
    bench.finish()
    assert again.chunks[-1].usage is not None
    assert again.chunks[-1].usage.reused_tokens >= 100
    check(model, other)
    check(model, again)


def test_a_long_prefill_makes_nobody_wait(model: Loaded) -> None:
    bench = Bench(model)
    bench.scheduler._budget = lambda _: 16  # type: ignore[method-assign, assignment]
    long = bench.ask(GenerationRequest(ids(1, 480), 5, priority=Priority.CHAT))
    bench.turn()
    bench.turn()
    quick = bench.ask(GenerationRequest(ids(2, 10), 12))
    for _ in range(13):
        bench.turn()
    assert quick.done
    assert not long.got
    bench.finish()
    check(model, long)
    check(model, quick)


def test_chats_go_on_while_others_type(model: Loaded) -> None:
    bench = Bench(model)
    chat = bench.ask(GenerationRequest(ids(1, 300), 20, priority=Priority.CHAT))
    for seed in range(400):
        if not any(not a.done for a in bench.asked if a.request.priority == Priority.COMPLETION):
            bench.ask(GenerationRequest(ids(seed, 30), 8))
        bench.turn()
        if chat.done:
            break
    assert chat.done
    check(model, chat)


def test_what_nobody_waits_for_waits_for_everybody(model: Loaded) -> None:
    bench = Bench(model)
    ahead = bench.ask(GenerationRequest(ids(1, 20), 30, priority=Priority.PREFETCH))
    for _ in range(3):
        bench.turn()
    before = len(ahead.ids)
    typed = bench.ask(GenerationRequest(ids(2, 20), 10))
    while not typed.done:
        bench.turn()
    assert len(ahead.ids) == before
    bench.finish()
    check(model, ahead)


def test_what_nobody_waits_for_is_read_in_small_portions(model: Loaded) -> None:
    """A key that comes in the midst of it waits for a portion's end."""
    costs = StepCosts()
    for size in (1, 32, 128, 512):
        costs.learn(size, float(size))
    bench = Bench(replace(model, decoder=replace(model.decoder, costs=costs)))
    bench.ask(GenerationRequest(ids(1, 120), 2, priority=Priority.PREFETCH))
    bench.turn()
    assert bench.metrics.computed_ids <= 32
    typed = bench.ask(GenerationRequest(ids(2, 20), 2))
    while not typed.done:
        bench.turn()
    bench.finish()


def test_what_is_done_is_counted(model: Loaded) -> None:
    # What other tests took on a busy machine would divide the prefill.
    bench = Bench(replace(model, decoder=replace(model.decoder, costs=StepCosts())))
    first = bench.ask(GenerationRequest(ids(1, 100), 8))
    bench.finish()
    written = len(first.ids)
    drafted = sum(c.usage.drafted_tokens for c in first.chunks if c.usage)
    accepted = sum(c.usage.accepted_tokens for c in first.chunks if c.usage)
    assert bench.metrics.answers == 1
    assert bench.metrics.steps == written - accepted
    assert bench.metrics.computed_ids == 100 + written - 1 - accepted + drafted
    bench.ask(GenerationRequest((*ids(1, 100), 40), 1))
    bench.finish()
    assert bench.metrics.reused_ids == 100
    assert bench.metrics.cache_bytes > 0


def test_more_than_fit_at_once_are_all_answered(model: Loaded) -> None:
    bench = Bench(model)
    for seed in range(40):
        priority = Priority.CHAT if seed % 3 == 0 else Priority.COMPLETION
        bench.ask(GenerationRequest(ids(seed, 10), 6, priority=priority))
    bench.finish()
    for asked in bench.asked:
        check(model, asked)


def test_what_cannot_be_answered_is_refused_alone(model: Loaded) -> None:
    bench = Bench(model)
    good = bench.ask(GenerationRequest(ids(1, 20), 12))
    bad = {
        PromptTooLongError: GenerationRequest(ids(2, WINDOW), 5),
        RequestError: GenerationRequest((10**6,), 5),
    }
    refused = [(error, bench.ask(request)) for error, request in bad.items()]
    unknown = bench.ask(GenerationRequest(ids(3, 5), 5, adapter="nobody"))
    half = bench.ask(GenerationRequest(ids(3, 5), 5, forced_prefix="\ud83d"))
    bench.finish()
    check(model, good)
    for error, asked in [*refused, (RequestError, unknown), (RequestError, half)]:
        assert [type(told) for told in asked.errors] == [error]
        assert asked.done


def test_answers_end_where_the_window_does(model: Loaded) -> None:
    bench = Bench(model)
    for seed in range(3):
        bench.ask(GenerationRequest(ids(seed, WINDOW - 3 - seed), 50))
    bench.ask(
        GenerationRequest(
            ids(9, WINDOW - 2), 50, forced_prefix="return total", draft_tokens=ids(5, 20)
        )
    )
    bench.finish()
    for asked in bench.asked:
        check(model, asked)
        assert asked.chunks[-1].finish in (FinishReason.LENGTH, FinishReason.STOP)


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (torch.OutOfMemoryError("planted"), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemoryError),
        (RuntimeError("the user's code"), StarcoderError),
    ],
)
def test_who_fails_fails_alone(
    model: Loaded, monkeypatch: pytest.MonkeyPatch, planted: Exception, told: type[Exception]
) -> None:
    forward = model.decoder.forward
    batch, single = forward.batch, type(forward).__call__
    requests = [GenerationRequest(ids(seed, 20), 12) for seed in range(3)]
    written = {id_ for one in requests for chunk in alone(model, one) for id_ in chunk.ids}
    poison = next(id_ for id_ in range(20, 30) if id_ not in written)

    def planted_batch(parts: Any) -> Any:
        if any(poison in (*part.cache.ids, *part.ids) for part in parts):
            raise planted
        return batch(parts)

    def planted_single(self: Any, ids: torch.Tensor, cache: KVCache, *, last: int = 1) -> Any:
        if poison in (*cache.ids, *ids.tolist()):
            raise planted
        return single(self, ids, cache, last=last)

    with monkeypatch.context() as patch:
        patch.setattr(forward, "batch", planted_batch)
        patch.setattr(type(forward), "__call__", planted_single)
        bench = Bench(model)
        good = [bench.ask(request) for request in requests]
        bad = bench.ask(GenerationRequest((*ids(5, 10), poison), 12))
        bench.finish()
    for asked in good:
        check(model, asked)
    assert [type(error) for error in bad.errors] == [told]
    assert "the user's code" not in str(bad.errors[0])


def test_memory_that_idle_caches_hold_is_freed_before_anyone_is_refused(
    model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model)
    bench.ask(GenerationRequest(ids(1, 100), 5))
    bench.finish()
    pool = bench.scheduler._pool
    single = type(model.decoder.forward).__call__

    def short_of_memory(self: Any, ids: torch.Tensor, cache: KVCache, *, last: int = 1) -> Any:
        if pool.idle:
            raise torch.OutOfMemoryError("planted")
        return single(self, ids, cache, last=last)

    with monkeypatch.context() as patch:
        patch.setattr(type(model.decoder.forward), "__call__", short_of_memory)
        asked = bench.ask(GenerationRequest(ids(2, 40), 5))
        bench.finish()
    check(model, asked)


async def test_the_loop_may_close_before_the_answer_is_there(model: Loaded) -> None:
    bench = Bench(model)
    closed = asyncio.new_event_loop()
    closed.close()
    bench._loop = closed
    lost = bench.ask(GenerationRequest(ids(1, 10), 50))
    bench._loop = Inline()
    good = bench.ask(GenerationRequest(ids(2, 10), 9))
    while not good.done:
        with torch.inference_mode():
            bench.scheduler.turn()
    check(model, good)
    assert lost.job.cancelled.is_set()
