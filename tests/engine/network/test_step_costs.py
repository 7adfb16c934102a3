"""Durations of forward passes: interpolation between measurements, and outliers."""

from engine.network.step_costs import StepCosts
from tests.engine.costs import costs_of


def test_costs_between_measurements_lie_between_them() -> None:
    costs = costs_of({1: 10.0, 16: 25.0, 512: 500.0})
    assert [costs.milliseconds(rows) for rows in (1, 16, 512)] == [10.0, 25.0, 500.0]
    assert 10.0 < costs.milliseconds(6) < costs.milliseconds(12) < 25.0
    largest = max(rows for rows in range(16, 513) if costs.milliseconds(rows) <= 100.0)
    assert costs.max_rows_within(100.0, 16, 512) == largest
    assert costs.max_rows_within(1.0, 16, 512) == 16
    assert costs.max_rows_within(1e9, 16, 512) == 512


def test_more_rows_are_never_expected_to_take_less_time() -> None:
    costs = costs_of({1: 20.0, 16: 10.0})
    assert [costs.milliseconds(rows) for rows in (1, 8, 16)] == [20.0, 20.0, 20.0]


def test_costs_outside_of_measurements_are_extrapolated() -> None:
    costs = costs_of({16: 20.0, 32: 40.0})
    assert 0 < costs.milliseconds(1) < 20.0
    assert costs.milliseconds(64) > 40.0


def test_without_measurements_the_upper_bound_is_used() -> None:
    assert StepCosts().max_rows_within(1.0, 16, 512) == 512


def test_one_slow_pass_changes_little() -> None:
    costs = costs_of({1: 10.0})
    costs.record(1, 5000.0)
    assert costs.milliseconds(1) < 20.0


def test_a_number_at_the_lower_end_of_a_bucket_is_not_recorded() -> None:
    costs = costs_of({1: 10.0, 32: 40.0})
    costs.record(33, 9000.0)
    assert costs.num_measured == 2
    assert costs.milliseconds(32) == 40.0
