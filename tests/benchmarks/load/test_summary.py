"""The figures and conclusions of a load measurement, from known outcomes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks.load.outcomes import Fate, Kind, Outcome
from benchmarks.load.report import conclusions, table
from benchmarks.load.run import FLOODER, Load, Measurement
from benchmarks.load.summary import flood_factor, most_users, next_to_try, row, summarize


def outcomes(
    count: int,
    seconds: float,
    fate: Fate = Fate.ANSWERED,
    *,
    kind: Kind = Kind.COMPLETION,
    user: str = "typist 0",
    started: float = 105.0,
) -> list[Outcome]:
    first_s = seconds / 2 if fate is Fate.ANSWERED else None
    outcome = Outcome(user, kind, fate, started, seconds, first_s, 200, 100, 80, 5)
    return [outcome] * count


def measurement(
    all_outcomes: Sequence[Outcome],
    *,
    server: str = "serve",
    flood: int = 0,
    memory: Sequence[float] = (100.0,) * 8,
    delay: float = 0.001,
) -> Measurement:
    samples = [(float(i), size) for i, size in enumerate(memory)]
    load = Load(typists=8, seconds=20.0, flood=flood)
    return Measurement(
        server, load, list(all_outcomes), 100.0, 20.0, samples, 10.0, 1.0, [delay] * 100, "", ""
    )


def test_a_known_schedule_gives_known_figures() -> None:
    cold = outcomes(10, 5.0, started=101.0)  # in the warm-up of four seconds
    chat = outcomes(4, 2.0, kind=Kind.CHAT, user="chat 0")
    summary = summarize(measurement([*cold, *outcomes(80, 0.1), *outcomes(20, 0.2), *chat]))
    assert (summary.typists, summary.chats) == (8, 1)
    assert (summary.honest.sent, summary.honest.answered) == (114, 114)
    assert (summary.suggestion.p50, summary.suggestion.p95) == pytest.approx((100, 200))
    assert summary.first_token.p95 == pytest.approx(100)
    assert summary.chat_first_token.p50 == pytest.approx(1000)
    assert summary.completions_per_s == pytest.approx(100 / 16)
    assert summary.tokens_per_s == pytest.approx(104 * 5 / 16)
    assert summary.chat_tokens_per_s == pytest.approx(20 / 16)
    assert summary.reused == pytest.approx(0.8)
    assert (summary.server_cores, summary.generator_cores) == pytest.approx((0.5, 0.05))
    assert summary.generator_delay_ms == pytest.approx(1.0)
    assert summary.memory_mib == 100
    assert summary.serves
    assert summary.faults() == []


def test_a_dropped_request_is_a_fault() -> None:
    summary = summarize(measurement([*outcomes(999, 0.1), *outcomes(1, 3, Fate.UNANSWERED)]))
    assert not summary.serves
    assert summary.faults() == ["1 requests got no answer."]


def test_a_refused_request_of_an_honest_user_is_a_fault_and_that_of_a_flood_is_not() -> None:
    flood = outcomes(50, 0.01, Fate.REFUSED, kind=Kind.FLOOD, user=FLOODER)
    summary = summarize(measurement([*outcomes(100, 0.1), *flood], flood=64))
    assert summary.faults() == []
    assert summary.flooder.refused == 50
    assert summary.suggestion.p95 == pytest.approx(100)
    refused = summarize(measurement([*outcomes(100, 0.1), *outcomes(1, 0.01, Fate.REFUSED)]))
    assert refused.faults() == ["1 requests of honest users were refused."]
    assert not refused.serves


def test_times_above_the_target_are_no_fault_but_serve_nobody() -> None:
    summary = summarize(measurement(outcomes(100, 0.301)))
    assert not summary.serves
    assert summary.faults() == []


def test_growing_memory_and_a_late_generator_are_faults() -> None:
    growing = summarize(measurement(outcomes(100, 0.1), memory=[100 + 2 * i for i in range(40)]))
    assert growing.faults() == []  # the prefix cache may still fill
    assert "memory grew" in replace(growing, seconds=180.0).faults()[0]
    late = summarize(measurement(outcomes(100, 0.1), delay=0.06))
    assert "60 ms late" in late.faults()[0]


def test_a_flood_is_compared_with_the_same_server_without_it() -> None:
    quiet, flooded = measurement(outcomes(99, 0.1)), measurement(outcomes(99, 0.13), flood=64)
    other = measurement(outcomes(99, 0.01), server="vLLM")
    summaries = [summarize(each) for each in (other, quiet, flooded)]
    assert flood_factor(summaries) == pytest.approx(1.3)
    assert flood_factor(summaries[:2]) is None


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 40, 100, 300])
def test_the_search_finds_the_largest_number_of_users(limit: int) -> None:
    serves = {8: limit >= 8}
    while (users := next_to_try(serves)) is not None:
        assert users not in serves
        assert len(serves) < 20
        serves[users] = users <= limit
    served, failed = most_users(serves)
    assert failed is not None
    assert served <= limit < failed
    assert failed - served <= max(1, served // 10)


def test_a_smaller_number_that_fails_by_chance_does_not_hide_a_larger_one() -> None:
    assert most_users({8: False, 16: True, 32: False, 64: False}) == (16, 32)
    assert most_users({8: True, 16: True}) == (16, None)
    assert most_users({8: False}) == (0, 8)


def test_the_conclusions_name_the_faster_server_first() -> None:
    ours = summarize(measurement(outcomes(99, 0.2)))
    other = summarize(measurement(outcomes(99, 0.1), server="vLLM"))
    sentences = conclusions([ours, other])
    assert "p95 with 8 typists: vLLM 100 ms, serve 200 ms." in sentences
    assert "serve: at least 8 typists get 95 % within 300 ms." in sentences
    assert table([ours, other]).row_count > 20
    assert row(ours)["suggestion"]["p95"] == pytest.approx(200)
