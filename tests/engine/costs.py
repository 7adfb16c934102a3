"""Step costs for tests."""

from engine.network.step_costs import StepCosts


def costs_of(milliseconds: dict[int, float]) -> StepCosts:
    costs = StepCosts()
    for num_rows, duration_ms in milliseconds.items():
        costs.record(num_rows, duration_ms)
    return costs


class FixedCosts(StepCosts):
    """Costs that do not change, so that a busy machine cannot decide what a test observes."""

    def __init__(self, milliseconds: dict[int, float]) -> None:
        super().__init__()
        for num_rows, duration_ms in milliseconds.items():
            super().record(num_rows, duration_ms)

    def record(self, num_rows: int, milliseconds: float) -> None:
        pass
