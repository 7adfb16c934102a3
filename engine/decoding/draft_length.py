"""Chooses the number of draft tokens that gives the most tokens per millisecond."""

from __future__ import annotations

from engine.network.step_costs import StepCosts

_NUM_RATE_BUCKETS = 20
"""Number of acceptance rates that are distinguished."""
_REMEMBERED_FOR = 32
"""Number of measured passes for which results are remembered: costs change slowly."""


class DraftLengths:
    """Chooses the number of draft tokens from measured step costs."""

    def __init__(self, costs: StepCosts) -> None:
        self.costs = costs
        self._remembered: dict[tuple[int, int, int, int], tuple[int, float]] = {}
        self._remembered_at = 0

    def best(
        self, acceptance_rate: float, max_tokens: int, other_rows: int, token_ms: float = 0.0
    ) -> tuple[int, float]:
        """Return the draft length that maximizes tokens per millisecond, and that rate.

        `acceptance_rate` is the probability that a draft token is right if those before it are.
        `other_rows` is the number of rows that the step computes for other sequences. `token_ms` is
        the cost of making one draft token.
        """
        version = self.costs.num_measured // _REMEMBERED_FOR
        if version != self._remembered_at:
            self._remembered.clear()
            self._remembered_at = version
        # The key distinguishes costs that differ by a tenth of a pass.
        relative_cost = round(10 * token_ms / self.costs.milliseconds(1))
        key = (round(acceptance_rate * _NUM_RATE_BUCKETS), other_rows, max_tokens, relative_cost)
        if key not in self._remembered:
            rate = key[0] / _NUM_RATE_BUCKETS
            self._remembered[key] = _best_length(self.costs, rate, max_tokens, other_rows, token_ms)
        return self._remembered[key]


def _best_length(
    costs: StepCosts, acceptance_rate: float, max_tokens: int, other_rows: int, token_ms: float
) -> tuple[int, float]:
    best_length = 0
    best_rate = (1 + other_rows) / costs.milliseconds(1 + other_rows)
    expected_tokens, probability = 1.0, 1.0
    for length in range(1, max_tokens + 1):
        probability *= acceptance_rate
        expected_tokens += probability
        cost = costs.milliseconds(1 + length + other_rows) + length * token_ms
        rate = (expected_tokens + other_rows) / cost
        if rate > best_rate:
            best_length, best_rate = length, rate
    return best_length, best_rate
