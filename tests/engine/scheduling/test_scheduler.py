"""Requests that run together have the output that each has alone, however they come and go."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.stepped_scheduler import SteppedScheduler
from engine.api import FinishReason, GenerationRequest, Priority, Sampling
from engine.decoding.draft_length import DraftLengths
from engine.kv_cache.pool import CachePool
from engine.loading.load import Loaded
from engine.network.step_costs import StepCosts
from engine.scheduling.job import EndOfStream
from tests.engine.scheduling.harness import WINDOW, check, ids, run_plain, stepped
from tests.engine.wrapped_forward import WrappedForward


def test_requests_together_have_the_output_of_each_alone(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    submissions = [
        scheduler.submit(GenerationRequest(ids(seed, 20 + 30 * seed), 25)) for seed in range(8)
    ]
    scheduler.finish()
    for submission in submissions:
        check(loaded, submission)


def test_sequences_are_computed_in_one_pass(loaded: Loaded) -> None:
    forward = WrappedForward(loaded.model.forward)
    scheduler = stepped(loaded, forward=forward)
    for seed in range(4):
        scheduler.submit(GenerationRequest(ids(seed, 12), 10))
    scheduler.finish()
    assert forward.batch_sizes[0] == 4
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


def test_metrics_show_what_is_in_use(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    metrics = scheduler.metrics
    submissions = [scheduler.submit(GenerationRequest(ids(n, 10), 20)) for n in range(40)]
    scheduler.step()
    assert metrics.requests_running + metrics.requests_waiting == 40
    assert metrics.requests_running > 0 < metrics.requests_waiting
    assert 0 < metrics.caches_in_use < 40
    for submission in submissions:
        submission.job.cancelled.set()
    scheduler.finish()
    assert (metrics.requests_running, metrics.requests_waiting) == (0, 0)
    assert metrics.caches_in_use == 0


def test_more_requests_than_may_run_at_a_time_all_end(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    for seed in range(40):
        priority = Priority.CHAT if seed % 3 == 0 else Priority.COMPLETION
        scheduler.submit(GenerationRequest(ids(seed, 10), 6, priority=priority))
    scheduler.finish()
    for submission in scheduler.submissions:
        check(loaded, submission)


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
    forward = WrappedForward(loaded.model.forward)
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
