"""The comparison of a server's metrics with its users' counts, with a real server."""

from collections.abc import AsyncIterator

import pytest

from benchmarks.load.outcomes import Fate, Kind, Outcome
from benchmarks.load.prometheus import disagreements, read_samples
from benchmarks.load.run import Load, Measurement, measure
from benchmarks.load.servers import Server
from benchmarks.load.users import Replay
from engine.scripted import ScriptedEngine
from tests.benchmarks.load.test_users import recording
from tests.engine.server.serving import serving


@pytest.fixture
async def measured() -> AsyncIterator[Measurement]:
    """A short measurement in which some requests are cancelled and some are answered."""
    engine = ScriptedEngine(lambda _: "cdef", seconds_per_token=0.03)
    times = [number * 0.1 + number % 2 * 0.08 for number in range(40)]
    async with serving(engine) as endpoint:
        server = Server("serve", endpoint.url, "scripted", is_ours=True)
        replay = Replay.build(recording(*times, length=10), "scripted", is_ours=True)
        yield await measure(server, replay, Load(typists=4, seconds=2.5))


async def test_the_metrics_of_a_real_server_agree(measured: Measurement) -> None:
    fates = {outcome.fate for outcome in measured.outcomes}
    assert fates == {Fate.ANSWERED, Fate.CANCELLED}
    before, after = measured.metrics_before, measured.metrics_after
    assert disagreements(before, after, measured.outcomes) == []


async def test_requests_that_the_server_missed_or_invented_are_noticed(
    measured: Measurement,
) -> None:
    before, after = measured.metrics_before, measured.metrics_after
    cancelled = sum(each.fate is Fate.CANCELLED for each in measured.outcomes)
    answer = next(each for each in measured.outcomes if each.fate is Fate.ANSWERED)
    more = [*measured.outcomes, *[answer] * (cancelled + 1)]
    assert any("requests" in problem for problem in disagreements(before, after, more))
    assert any("tokens" in problem for problem in disagreements(before, after, more))
    refusal = Outcome("a", Kind.COMPLETION, Fate.REFUSED, 0.0, 0.0, status=429)
    problems = disagreements(before, after, [*measured.outcomes, refusal])
    assert any(problem.startswith("refused") for problem in problems)
    fewer = [each for each in measured.outcomes if each.fate is Fate.CANCELLED]
    assert any("finished" in problem for problem in disagreements(before, after, fewer))
    # The same counts twice are as wrong as none.
    assert disagreements(after, after, measured.outcomes)


def test_a_request_that_still_runs_afterwards_is_noticed() -> None:
    text = "# TYPE starcoder_num_requests_running gauge\nstarcoder_num_requests_running 2.0\n"
    assert disagreements(text, text, []) == ["starcoder_num_requests_running is 2 afterwards."]
    assert disagreements("", "", []) == ["The server has no metrics."]


def test_only_the_route_for_completions_counts() -> None:
    text = (
        "# TYPE starcoder_http_requests counter\n"
        'starcoder_http_requests_total{route="/v1/completions",status="200",end="finished"} 3.0\n'
        'starcoder_http_requests_total{route="/v1/completions",status="499",end="cancelled"} 2.0\n'
        'starcoder_http_requests_total{route="/metrics",status="200",end="finished"} 7.0\n'
    )
    assert read_samples(text).by_end == {"finished": 3, "cancelled": 2}
