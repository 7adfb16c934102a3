"""The statistics of the load benchmark, with known outcomes."""

import math

import pytest

from benchmarks.load.outcomes import (
    Fate,
    Kind,
    Outcome,
    censored_percentile,
    count,
    growth,
    p95_by_user,
    times_to_answer,
    times_to_first_token,
    unfairness,
)


def outcome(
    seconds: float,
    fate: Fate = Fate.ANSWERED,
    *,
    user: str = "a",
    first_s: float | None = None,
    tokens: int = 0,
) -> Outcome:
    return Outcome(
        user, Kind.COMPLETION, fate, 0.0, seconds, first_s, output_tokens=tokens, prompt_tokens=10
    )


def answered(*seconds: float) -> list[Outcome]:
    return [outcome(each) for each in seconds]


def test_without_cancelled_requests_the_percentiles_are_the_nearest_ranks() -> None:
    times = times_to_answer(answered(*(number / 1000 for number in range(1, 101))))
    assert (times.p50, times.p95, times.p99) == pytest.approx((50, 95, 99))


def test_a_cancelled_request_counts_as_longer_than_it_lasted() -> None:
    """The example of Kaplan and Meier: the share that is left is a product over the events."""
    observed = [(1.0, True), (2.0, False), (3.0, True), (4.0, True)]
    # After 1: 3/4. After 3, of which two are left: 3/8. After 4: 0.
    assert censored_percentile(observed, 0.25) == 1.0
    assert censored_percentile(observed, 0.26) == 3.0
    assert censored_percentile(observed, 0.625) == 3.0
    assert censored_percentile(observed, 0.63) == 4.0


def test_a_cancellation_at_the_time_of_an_answer_comes_after_it() -> None:
    assert censored_percentile([(1.0, False), (1.0, True)], 0.5) == 1.0
    assert math.isinf(censored_percentile([(1.0, False), (1.0, True)], 0.6))


def test_a_server_whose_slow_answers_are_all_cancelled_has_no_percentile() -> None:
    outcomes = [*answered(*[0.1] * 80), *[outcome(0.4, Fate.CANCELLED)] * 20]
    times = times_to_answer(outcomes)
    assert times.p50 == pytest.approx(100)
    assert math.isinf(times.p95)


def test_requests_without_an_answer_lengthen_the_times_and_refused_ones_do_not() -> None:
    fast = answered(*[0.1] * 90)
    assert math.isinf(times_to_answer([*fast, *[outcome(30, Fate.UNANSWERED)] * 10]).p95)
    assert times_to_answer([*fast, *[outcome(0, Fate.REFUSED)] * 10]).p95 == pytest.approx(100)


def test_the_first_token_of_a_cancelled_request_counts() -> None:
    outcomes = [outcome(0.5, Fate.CANCELLED, first_s=0.2), outcome(0.4, first_s=0.1)]
    assert times_to_first_token(outcomes).p99 == pytest.approx(200)


def test_without_requests_there_are_no_times() -> None:
    assert math.isinf(times_to_answer([]).p50)


def test_every_fate_is_counted() -> None:
    fates = [Fate.ANSWERED] * 4 + [Fate.CANCELLED] * 3 + [Fate.REFUSED] * 2 + [Fate.UNANSWERED]
    counts = count(outcome(1, fate, tokens=5) for fate in fates)
    assert (counts.sent, counts.answered, counts.cancelled) == (10, 4, 3)
    assert (counts.refused, counts.unanswered) == (2, 1)
    assert (counts.output_tokens, counts.prompt_tokens) == (50, 100)


def test_fairness_is_the_ratio_of_the_users_percentiles() -> None:
    outcomes = [outcome(0.1, user="fast")] * 20 + [outcome(0.3, user="slow")] * 20
    outcomes += [outcome(9.0, user="rare")] * 2
    p95 = p95_by_user(outcomes)
    assert p95 == pytest.approx({"fast": 100, "slow": 300})
    assert unfairness(p95) == pytest.approx(3)
    assert unfairness({"only": 1.0}) is None


def test_a_user_who_is_never_served_is_infinitely_worse() -> None:
    starved = [outcome(0.4, Fate.CANCELLED, user="starved")] * 20
    p95 = p95_by_user([*[outcome(0.1, user="fast")] * 20, *starved])
    assert math.isinf(unfairness(p95) or 0)


def test_growth_ignores_the_warm_up_and_compares_the_ends() -> None:
    warm_up = [(float(i), 10.0 + i) for i in range(10)]
    flat = [(float(i), 100.0) for i in range(10, 40)]
    assert growth([*warm_up, *flat]) == 0
    growing = [(float(i), 100.0 + i) for i in range(40)]
    assert growth(growing) == pytest.approx(134.5 / 114.5 - 1)
    assert growth([(0, 1.0), (1, 2.0)]) == 0
