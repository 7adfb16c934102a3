"""The stages add up and stretch, and the learning rate ends at zero with them."""

import pytest

from training.fim import FimOptions
from training.recipe import STAGES, STEPS, legs, schedule, stages


def test_the_recipe_is_what_it_is_by_default() -> None:
    assert stages() == STAGES
    assert STAGES[0].fim == FimOptions(rate=0.5, spm_rate=0.5)
    assert schedule()[-1] == (STEPS, 0.0)
    assert set(legs()) <= {sum(stage.steps for stage in STAGES[:n]) for n in range(len(STAGES))}


@pytest.mark.parametrize("steps", [1, 2, 7, 2600, 9999])
def test_stages_stretch_to_the_steps_asked_for(steps: int) -> None:
    made = stages(steps)
    assert sum(stage.steps for stage in made) == steps
    assert all(stage.steps >= 0 for stage in made)
    assert schedule(steps)[-1] == (steps, 0.0)


def test_a_rate_of_holes_replaces_the_recipes() -> None:
    made = stages(fim_rate=0.7)
    assert {stage.fim.rate for stage in made} == {0.7}
    assert [stage.fim.spm_rate for stage in made] == [stage.fim.spm_rate for stage in STAGES]
