"""The arithmetic of the capacity plan."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.capacity.__main__ import card_table, changes, plan_table, sensitivity_table
from benchmarks.capacity.inputs import DEMANDS, MODELS, Demand, Model
from benchmarks.capacity.plan import plan, random_routing_miss_share, with_misses
from benchmarks.capacity.queueing import Costs, Output, p95_s, rate_within
from benchmarks.capacity.validation import compare

COSTS = Costs(prompt_s=0.02, first_s=0.01, further_s=0.001)
OUTPUT = Output(mean=10, p95=20)
MODEL = Model("a", False, COSTS, 0.1, 30.0, 1000, target_s=0.5)
DEMAND = Demand("b", 0.1, "")


def test_cards_are_those_of_the_peak_and_the_spare_ones() -> None:
    per_card = rate_within(COSTS, OUTPUT, 0.5)
    own = plan(MODEL, DEMAND, 1_000, output=OUTPUT, miss_share=0.0, card_usd=2.0)
    assert own.rate_per_card == per_card
    assert own.peak_rate == pytest.approx(100)
    needed = -int(-100 // per_card)
    assert own.cards == needed + max(1, -int(-needed // 10))
    assert own.programmers_per_card == pytest.approx(1000 / own.cards)
    assert own.usd_per_programmer == pytest.approx(own.cards * 2.0 * 730.5 / 1000)
    assert own.kwh_usd_per_programmer == pytest.approx(own.cards * 0.7 * 0.15 * 730.5 / 1000)


def test_few_programmers_need_a_card_and_a_spare_one() -> None:
    assert plan(MODEL, DEMAND, 1, output=OUTPUT).cards == 2


def test_a_model_that_is_too_slow_has_no_plan() -> None:
    slow = replace(MODEL, target_s=0.1)
    own = plan(slow, DEMAND, 1_000, output=OUTPUT)
    assert (own.cards, own.rate_per_card, own.programmers_per_card) == (0, 0.0, 0.0)


def test_misses_cost_time_of_the_prompt() -> None:
    assert with_misses(COSTS, 0.1, 0.25).prompt_s == pytest.approx(0.045)
    rates = [
        plan(MODEL, DEMAND, 1_000, output=OUTPUT, miss_share=share).rate_per_card
        for share in (0.0, 0.1, 0.5, 1.0)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_random_routing_misses_wherever_the_last_request_was_not() -> None:
    assert random_routing_miss_share(1, 0.06) == pytest.approx(0.06)
    assert random_routing_miss_share(4, 0.2) == pytest.approx(0.8)
    assert random_routing_miss_share(10**6, 0.2) == pytest.approx(1.0)


def test_the_prompts_of_the_users_of_a_card_stay_in_its_memory() -> None:
    """Otherwise the plan's share of misses would be too small."""
    assert MODEL.cached_prompts == int(0.5 * 50e9 / (8192 * 1000))
    for model in MODELS:
        own = plan(model, DEMANDS[1], 1_000)
        assert own.programmers_per_card < model.cached_prompts


def test_eight_users_on_a_card_take_about_as_long_as_measured() -> None:
    """docs/gpu.md: 505 ms at p50 for 16 tokens, with the first version of the kernels."""
    costs = replace(MODELS[0].costs, first_s=0.01404)
    share, batch = 24 * costs.prompt_s, 6  # eight users press 24 keys per second; six wait
    milliseconds = 1000 * (costs.prompt_s + 16 * costs.step_s(batch) / (1 - share))
    assert milliseconds == pytest.approx(505, rel=0.1)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_one_user_is_served_in_time_by_every_model(model: Model) -> None:
    assert p95_s(model.costs, Output(15, 57), 0.0) < model.target_s


def test_the_tables_are_complete() -> None:
    assert card_table().row_count == len(MODELS)
    assert plan_table(2.5).row_count == len(MODELS) * len(DEMANDS) * 2
    assert sensitivity_table().row_count == len(list(changes(MODELS[0], DEMANDS[0]))) > 5


def row(typists: int, sent: int, cores: float, **other: Any) -> dict[str, Any]:
    honest = {"sent": sent, "output_tokens": 10 * sent}
    base = {"server": "serve", "flood": 0, "seconds": 10.0, "suggestion": {"p95": 42.0}}
    return {**base, "typists": typists, "honest": honest, "server_cores": cores, **other}


def test_the_validation_uses_the_fewest_users_and_predicts_the_others() -> None:
    rows = [
        row(32, 400, 0.9),
        row(8, 100, 0.3),
        row(8, 100, 0.3, server="vLLM"),
        row(8, 100, 0.3, flood=64),
    ]
    comparisons = compare(rows, first_s=0.001, further_s=0.0001)
    assert [each.users for each in comparisons] == [8, 32]
    assert [each.rate for each in comparisons] == [10, 40]
    # 0.3 cores for 10 requests per second are 30 ms each, of which 10 tokens take 10 ms.
    costs = Costs(0.02, 0.001, 0.0001)
    expected = [1000 * p95_s(costs, Output(15, 57), rate) for rate in (10, 40)]
    assert [each.predicted_ms for each in comparisons] == pytest.approx(expected)
    assert comparisons[0].measured_ms == 42
    with pytest.raises(ValueError, match="no measurement"):
        compare(rows[2:], 0.001, 0.0001)
