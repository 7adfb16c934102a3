"""Requests that run together have the output that each has alone, however they come and go."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.stepped_scheduler import SteppedScheduler, Submission, text_of
from engine.api import Chunk, FinishReason, GenerationRequest, Priority, Sampling
from engine.decoding.draft_length import DraftLengths
from engine.errors import OutOfMemoryError, PromptTooLongError, RequestError, StarcoderError
from engine.kernels.build import KernelBuild
from engine.kv_cache.pool import CachePool
from engine.loading.adapter_store import install
from engine.loading.load import Loaded, load
from engine.network.batch import BatchEntry
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward
from engine.network.step_costs import StepCosts
from engine.scheduling.job import EndOfStream
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.adapters import make_adapter, note
from tests.engine.network.test_step_costs import FixedCosts

WINDOW = 512


@pytest.fixture(scope="module", params=["torch", "kernels"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that torch computes, and one whose sizes suit the kernels."""
    if request.param == "kernels" and KernelBuild().wait(timeout=120) is None:
        pytest.skip("optional: needs a C++ compiler")
    width = {"torch": 32, "kernels": 64}[request.param]
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW, n_embd=width)


@pytest.fixture(scope="module")
def loaded(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A model with two adapters, `one` and `other`."""
    folder = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARCODER_LSP_ADAPTERS", str(folder))
        for seed, name in enumerate(("one", "other")):
            adapter = tmp_path_factory.mktemp(name)
            make_adapter(path, adapter, seed=seed)
            install(adapter, name, note(path))
        loaded = load(EngineSettings(model=str(path), device="cpu"), lambda *_: None)
    forward = loaded.model.forward
    assert isinstance(forward, LeanForward)
    assert forward.supports_fused is (loaded.model.cache_shape.head_dim == 16)
    forward.wait_ready()
    return loaded


def stepped(loaded: Loaded, **fields: Any) -> SteppedScheduler:
    model = replace(loaded.model, **fields)
    return SteppedScheduler(model, adapter_of=loaded.adapters.get)


def run_plain(loaded: Loaded, request: GenerationRequest) -> list[Chunk]:
    """Run one request without other requests, prefix cache, drafts and kernels."""
    forward = loaded.model.forward
    assert isinstance(forward, LeanForward)
    scheduler = stepped(loaded, forward=LeanForward(forward.weights))
    return scheduler.run(replace(request, draft_tokens=()))


def check(loaded: Loaded, submission: Submission) -> None:
    """Check that a submission has the output that it has alone."""
    expected = run_plain(loaded, submission.request)
    assert not submission.errors
    assert submission.ids == [id_ for chunk in expected for id_ in chunk.ids]
    assert text_of(submission.chunks) == text_of(expected)
    reasons = [chunk.finish for chunk in submission.chunks]
    assert reasons[-1] == expected[-1].finish
    assert reasons[:-1] == [None] * (len(reasons) - 1)


def ids(seed: int, count: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(30, 360, (count,), generator=generator).tolist())


class Wrapped:
    """A forward pass that records batch sizes and can fail on purpose."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.batch_sizes: list[int] = []

    def __call__(self, batch: Sequence[BatchEntry]) -> list[torch.Tensor]:
        self.batch_sizes.append(len(batch))
        self.before(batch)
        return self._forward(batch)

    def before(self, batch: Sequence[BatchEntry]) -> None:
        """Hook for subclasses."""

    def prepare(self) -> bool:
        return False

    def wait_ready(self) -> None:
        pass


def test_requests_together_have_the_output_of_each_alone(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    submissions = [
        scheduler.submit(GenerationRequest(ids(seed, 20 + 30 * seed), 25)) for seed in range(8)
    ]
    scheduler.finish()
    for submission in submissions:
        check(loaded, submission)


def test_sequences_are_computed_in_one_pass(loaded: Loaded) -> None:
    forward = Wrapped(loaded.model.forward)
    scheduler = stepped(loaded, forward=forward)
    for seed in range(6):
        scheduler.submit(GenerationRequest(ids(seed, 12), 10))
    scheduler.finish()
    assert forward.batch_sizes[0] == 6
    assert sum(size > 1 for size in forward.batch_sizes) <= 10


PROMPTS = st.builds(
    lambda stem, num_kept, seed, num_more: (
        *ids(stem, 200)[:num_kept],
        *ids(100 + seed, num_more),
    ),
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
        st.tuples(st.just("steps"), st.integers(1, 12)),
    ),
    max_size=14,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS)
def test_requests_may_come_and_go_in_any_order(loaded: Loaded, actions: list[Any]) -> None:
    scheduler, cancelled = stepped(loaded), set()
    for action in actions:
        if isinstance(action, GenerationRequest):
            scheduler.submit(action)
        elif action[0] == "steps":
            for _ in range(action[1]):
                scheduler.step()
        elif scheduler.submissions:
            index = action[1] % len(scheduler.submissions)
            if not scheduler.submissions[index].done:
                cancelled.add(index)
                scheduler.submissions[index].job.cancelled.set()
    scheduler.finish()
    for index, submission in enumerate(scheduler.submissions):
        if index in cancelled:
            assert not submission.errors
        else:
            check(loaded, submission)
        assert submission.events.count(EndOfStream()) == 1


def test_log_probabilities_are_those_of_each_request_alone(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    for seed in range(4):
        scheduler.submit(GenerationRequest(ids(seed, 40), 12, logprobs=2))
    scheduler.finish()
    for submission in scheduler.submissions:
        scores = [score for chunk in submission.chunks for score in chunk.logprobs]
        plain = run_plain(loaded, submission.request)
        expected = [score for chunk in plain for score in chunk.logprobs]
        assert [score.id for score in scores] == [score.id for score in expected]
        for score, expected_score in zip(scores, expected, strict=True):
            assert score.logprob == pytest.approx(expected_score.logprob, abs=1e-3)
            assert [id_ for id_, _ in score.top] == [id_ for id_, _ in expected_score.top]


def test_a_cancelled_request_ends_with_the_step_and_its_rows_stay(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    first = scheduler.submit(GenerationRequest(ids(1, 100), 200))
    other = scheduler.submit(GenerationRequest(ids(2, 20), 40))
    for _ in range(10):
        scheduler.step()
    first.job.cancelled.set()
    scheduler.step()
    assert first.done
    assert not other.done
    again = scheduler.submit(GenerationRequest((*ids(1, 100), *first.ids), 5))
    scheduler.finish()
    assert again.chunks[-1].usage is not None
    assert again.chunks[-1].usage.reused_tokens >= 100
    check(loaded, other)
    check(loaded, again)


def test_a_long_prefill_does_not_block_other_requests(loaded: Loaded) -> None:
    # At these costs a prefill chunk has the minimum size.
    costs = FixedCosts({1: 1.0, 16: 30.0, 512: 900.0})
    scheduler = stepped(loaded, costs=costs)
    long = scheduler.submit(GenerationRequest(ids(1, 480), 5, priority=Priority.CHAT))
    quick = scheduler.submit(GenerationRequest(ids(2, 10), 12))
    for _ in range(14):
        scheduler.step()
    assert quick.done
    assert not long.events
    scheduler.finish()
    check(loaded, long)
    check(loaded, quick)


def test_chats_go_on_while_other_users_type(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    chat = scheduler.submit(GenerationRequest(ids(1, 300), 20, priority=Priority.CHAT))
    for seed in range(400):
        completions = [
            submission
            for submission in scheduler.submissions
            if submission.request.priority is Priority.COMPLETION
        ]
        if all(submission.done for submission in completions):
            scheduler.submit(GenerationRequest(ids(seed, 30), 8))
        scheduler.step()
        if chat.done:
            break
    assert chat.done
    check(loaded, chat)


def test_a_prefetch_waits_for_all_other_requests(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    request = GenerationRequest(ids(1, 20), 30, priority=Priority.PREFETCH)
    prefetch = scheduler.submit(request)
    for _ in range(3):
        scheduler.step()
    before = len(prefetch.ids)
    completion = scheduler.submit(GenerationRequest(ids(2, 20), 10))
    while not completion.done:
        scheduler.step()
    assert len(prefetch.ids) == before
    scheduler.finish()
    check(loaded, prefetch)


def test_a_prefetch_is_prefilled_in_small_chunks(loaded: Loaded) -> None:
    """A completion that arrives meanwhile then waits for a small chunk only."""
    costs = FixedCosts({size: float(size) for size in (1, 32, 128, 512)})
    scheduler = stepped(loaded, costs=costs)
    scheduler.submit(GenerationRequest(ids(1, 120), 2, priority=Priority.PREFETCH))
    scheduler.step()
    assert scheduler.metrics.computed_tokens <= 32
    completion = scheduler.submit(GenerationRequest(ids(2, 20), 2))
    while not completion.done:
        scheduler.step()
    scheduler.finish()


def test_metrics_count_the_work(loaded: Loaded) -> None:
    # New costs: those of other tests on a busy machine could split the prefill.
    scheduler = stepped(loaded, costs=StepCosts())
    first = scheduler.submit(GenerationRequest(ids(1, 100), 8))
    scheduler.finish()
    num_written = len(first.ids)
    num_drafted = sum(chunk.usage.drafted_tokens for chunk in first.chunks if chunk.usage)
    num_accepted = sum(chunk.usage.accepted_tokens for chunk in first.chunks if chunk.usage)
    metrics = scheduler.metrics
    assert metrics.requests == 1
    assert metrics.steps == num_written - num_accepted
    assert metrics.computed_tokens == 100 + num_written - 1 - num_accepted + num_drafted
    scheduler.submit(GenerationRequest((*ids(1, 100), 40), 1))
    scheduler.finish()
    assert metrics.reused_tokens == 100
    assert metrics.cache_bytes > 0


def test_more_requests_than_may_run_at_a_time_all_end(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    for seed in range(40):
        priority = Priority.CHAT if seed % 3 == 0 else Priority.COMPLETION
        scheduler.submit(GenerationRequest(ids(seed, 10), 6, priority=priority))
    scheduler.finish()
    for submission in scheduler.submissions:
        check(loaded, submission)


def test_an_invalid_request_is_refused_and_others_go_on(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    good = scheduler.submit(GenerationRequest(ids(1, 20), 12))
    invalid = [
        (PromptTooLongError, GenerationRequest(ids(2, WINDOW), 5)),
        (RequestError, GenerationRequest((10**6,), 5)),
        (RequestError, GenerationRequest(ids(3, 5), 5, adapter="nobody")),
        (RequestError, GenerationRequest(ids(3, 5), 5, forced_prefix="\ud83d")),
    ]
    refused = [(error, scheduler.submit(request)) for error, request in invalid]
    scheduler.finish()
    check(loaded, good)
    for error, submission in refused:
        assert [type(each) for each in submission.errors] == [error]
        assert submission.done
    assert scheduler.metrics.requests == 1


def test_output_ends_at_the_context_window(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    for seed in range(3):
        scheduler.submit(GenerationRequest(ids(seed, WINDOW - 3 - seed), 50))
    prefix = "return total"
    scheduler.submit(
        GenerationRequest(ids(9, WINDOW - 2), 50, forced_prefix=prefix, draft_tokens=ids(5, 20))
    )
    scheduler.finish()
    for submission in scheduler.submissions:
        check(loaded, submission)
        assert submission.chunks[-1].finish in (FinishReason.LENGTH, FinishReason.STOP)


def test_a_request_waits_while_the_caches_in_use_take_all_memory(loaded: Loaded) -> None:
    forward = Wrapped(loaded.model.forward)
    model = replace(loaded.model, forward=forward)
    scheduler = SteppedScheduler(model, pool=CachePool(model.cache_shape, max_bytes=1))
    submissions = [scheduler.submit(GenerationRequest(ids(seed, 20), 5)) for seed in range(3)]
    scheduler.finish()
    assert set(forward.batch_sizes) == {1}
    for submission in submissions:
        check(loaded, submission)


@pytest.mark.parametrize("num_requests", [1, 3])
def test_draft_lengths_depend_on_the_rows_of_the_other_sequences(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, num_requests: int
) -> None:
    request = GenerationRequest(ids(1, 20), 5)
    output = tuple(id_ for chunk in run_plain(loaded, request) for id_ in chunk.ids)
    num_other_rows: list[int] = []

    def no_draft(_: DraftLengths, rate: float, size: int, other: int, ms: float) -> Any:
        num_other_rows.append(other)
        return 0, 0.0

    monkeypatch.setattr(DraftLengths, "best", no_draft)
    scheduler = stepped(loaded)
    for _ in range(num_requests):
        scheduler.submit(replace(request, draft_tokens=output))
    scheduler.finish()
    # The first draft of each request is proposed before any step, and none for the last token.
    before_steps = [0] * num_requests
    assert num_other_rows == before_steps + [num_requests - 1] * (3 * num_requests)


class Poisoned(Wrapped):
    """A forward pass that fails for sequences with a certain token."""

    def __init__(self, forward: Forward, poison: int, error: Exception) -> None:
        super().__init__(forward)
        self._poison, self._error = poison, error

    def before(self, batch: Sequence[BatchEntry]) -> None:
        if any(self._poison in (*entry.cache.ids, *entry.ids) for entry in batch):
            raise self._error


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (torch.OutOfMemoryError("planted"), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemoryError),
        (RuntimeError("the user's code"), StarcoderError),
    ],
)
def test_a_failing_request_fails_alone(
    loaded: Loaded, planted: Exception, expected: type[Exception]
) -> None:
    requests = [GenerationRequest(ids(seed, 20), 12) for seed in range(3)]
    outputs = [run_plain(loaded, request) for request in requests]
    written = {id_ for chunks in outputs for chunk in chunks for id_ in chunk.ids}
    poison = next(id_ for id_ in range(20, 30) if id_ not in written)
    scheduler = stepped(loaded, forward=Poisoned(loaded.model.forward, poison, planted))
    good = [scheduler.submit(request) for request in requests]
    bad = scheduler.submit(GenerationRequest((*ids(5, 10), poison), 12))
    scheduler.finish()
    for submission in good:
        check(loaded, submission)
    assert [type(error) for error in bad.errors] == [expected]
    assert "the user's code" not in str(bad.errors[0])


class ShortOfMemory(Wrapped):
    """A forward pass that runs out of memory while `is_short` returns True."""

    def __init__(self, forward: Forward) -> None:
        super().__init__(forward)
        self.is_short = lambda: False

    def before(self, batch: Sequence[BatchEntry]) -> None:
        if self.is_short():
            raise torch.OutOfMemoryError("planted")


def test_idle_caches_are_freed_before_a_request_fails(loaded: Loaded) -> None:
    forward = ShortOfMemory(loaded.model.forward)
    scheduler = stepped(loaded, forward=forward)
    scheduler.submit(GenerationRequest(ids(1, 100), 5))
    scheduler.finish()
    pool = scheduler.scheduler.pool
    assert pool.idle
    forward.is_short = lambda: bool(pool.idle)
    submission = scheduler.submit(GenerationRequest(ids(2, 40), 5))
    scheduler.finish()
    check(loaded, submission)


def test_draining_ends_every_request(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    for seed in range(20):  # more than may run at a time
        scheduler.submit(GenerationRequest(ids(seed, 10), 100))
    scheduler.step()
    assert scheduler.scheduler.num_unfinished == 20
    scheduler.scheduler.drain()
    assert scheduler.scheduler.num_unfinished == 0
    for submission in scheduler.submissions:
        assert submission.done
        assert submission.events.count(EndOfStream()) == 1
        assert not submission.errors
