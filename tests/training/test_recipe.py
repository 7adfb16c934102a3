"""The stages add up to the steps of a run, and the learning rate ends at zero."""

import pytest

from training.fim import FimOptions
from training.recipe import (
    STAGES,
    STEPS,
    scaled_phase_starts,
    scaled_schedule,
    scaled_stages,
)


def test_the_default_number_of_steps_gives_the_unscaled_recipe() -> None:
    assert scaled_stages() == STAGES
    assert STAGES[0].fim == FimOptions(rate=0.5, spm_rate=0.5)
    assert scaled_schedule()[-1] == (STEPS, 0.0)
    assert set(scaled_phase_starts()) <= {
        sum(stage.steps for stage in STAGES[:n]) for n in range(len(STAGES))
    }


@pytest.mark.parametrize("steps", [1, 2, 7, 2600, 9999])
def test_stages_are_scaled_to_the_number_of_steps(steps: int) -> None:
    stages = scaled_stages(steps)
    assert sum(stage.steps for stage in stages) == steps
    assert all(stage.steps >= 0 for stage in stages)
    assert scaled_schedule(steps)[-1] == (steps, 0.0)


def test_a_given_rate_of_holes_replaces_the_recipes() -> None:
    stages = scaled_stages(fim_rate=0.7)
    assert {stage.fim.rate for stage in stages} == {0.7}
    assert [stage.fim.spm_rate for stage in stages] == [stage.fim.spm_rate for stage in STAGES]
