"""The queueing model, compared with results that are known exactly and with a simulation."""

import heapq
import math
import random

import pytest

from benchmarks.capacity.queueing import (
    Costs,
    Output,
    batch_size,
    p95_s,
    poisson_percentile,
    rate_within,
    saturation,
)

COSTS = Costs(prompt_s=0.02, first_s=0.01, further_s=0.001)
OUTPUT = Output(mean=10, p95=20)


def test_one_request_alone_takes_its_prompt_and_its_tokens() -> None:
    assert p95_s(COSTS, OUTPUT, 0.0) == pytest.approx(0.02 + 20 * 0.01)
    assert COSTS.step_s(1) == COSTS.step_s(0.2) == 0.01
    assert COSTS.step_s(5) == pytest.approx(0.014)


def test_the_batch_is_the_fixed_point_of_littles_law() -> None:
    rate = 15.0
    batch = batch_size(COSTS, OUTPUT, rate)
    decoding_s = 10 * COSTS.step_s(batch) / (1 - rate * 0.02)
    assert batch > 1
    assert batch == pytest.approx(rate * decoding_s)
    slow = batch_size(COSTS, OUTPUT, 1.0)
    assert slow == pytest.approx(10 * 0.01 / (1 - 0.02))


def test_an_engine_that_is_busy_all_the_time_has_no_percentile() -> None:
    limit = saturation(COSTS, OUTPUT)
    assert limit == pytest.approx(1 / (0.02 + 10 * 0.025 / 16))
    assert math.isinf(p95_s(COSTS, OUTPUT, 50.0))  # prompts alone take all time
    assert math.isinf(batch_size(COSTS, OUTPUT, 49.9))
    assert math.isinf(batch_size(Costs(0.0, 0.01, 0.01), OUTPUT, 10.0))


def test_the_time_grows_with_the_rate() -> None:
    times = [p95_s(COSTS, OUTPUT, rate) for rate in (0, 2, 5, 10, 20, 25)]
    assert times == sorted(times)
    assert times[0] < times[-1]


def test_the_rate_within_a_time_is_the_largest() -> None:
    rate = rate_within(COSTS, OUTPUT, 0.5)
    assert p95_s(COSTS, OUTPUT, rate) <= 0.5 < p95_s(COSTS, OUTPUT, rate * 1.01)
    assert 0 < rate < saturation(COSTS, OUTPUT)
    assert rate_within(COSTS, OUTPUT, 0.21) == 0.0


@pytest.mark.parametrize(("mean", "expected"), [(0.0, 0), (0.04, 0), (0.06, 1), (1, 3), (10, 15)])
def test_the_percentile_of_a_poisson_variable(mean: float, expected: int) -> None:
    """The values are those of tables of the distribution."""
    assert poisson_percentile(mean, 0.95) == expected


def simulated_p95(costs: Costs, tokens: int, rate: float, count: int = 4000) -> float:
    """Serve requests of a Poisson process as the engine does, and return the 95th percentile."""
    rng, now = random.Random(1), 0.0
    arrivals = []
    for _ in range(count):
        now += rng.expovariate(rate)
        arrivals.append(now)
    heapq.heapify(arrivals)
    waiting: list[float] = []
    running: list[tuple[float, int]] = []
    now, times = 0.0, []
    while arrivals or waiting or running:
        if not waiting and not running:
            now = max(now, arrivals[0])
        while arrivals and arrivals[0] <= now:
            waiting.append(heapq.heappop(arrivals))
        if running:  # a step for all, then one prompt
            now += costs.step_s(len(running))
            running = [(arrived, left - 1) for arrived, left in running]
            times += [now - arrived for arrived, left in running if left == 0]
            running = [pair for pair in running if pair[1] > 0]
        if waiting and len(running) < costs.max_batch:
            now += costs.prompt_s
            running.append((waiting.pop(0), tokens))
    return sorted(times)[int(0.95 * count)]


CARD = Costs(prompt_s=0.02, first_s=0.0127, further_s=0.0005)


@pytest.mark.parametrize("utilisation", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("tokens", [10, 40])
@pytest.mark.parametrize("costs", [COSTS, CARD], ids=["small", "card"])
def test_the_model_agrees_with_a_simulation(costs: Costs, tokens: int, utilisation: float) -> None:
    output = Output(mean=tokens, p95=tokens)
    rate = utilisation * saturation(costs, output)
    predicted, simulated = p95_s(costs, output, rate), simulated_p95(costs, tokens, rate)
    assert 0.9 < predicted / simulated < 1.3
