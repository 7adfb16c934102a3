"""The stages cover the whole run, and the learning rate starts and ends at zero."""

import pytest

from training.plan import TrainingPlan
from training.recipe import SCHEDULE, STAGES, stages_with


def test_the_stages_cover_the_whole_run() -> None:
    ends = tuple(stage.end for stage in STAGES)
    assert list(ends) == sorted(ends)
    plan = TrainingPlan(steps=100, stage_ends=ends)
    stages = [plan.stage(plan.progress(step)) for step in range(100)]
    assert stages == sorted(stages)
    assert set(stages) == set(range(len(STAGES)))
    assert plan.stage(1.5) == len(STAGES) - 1


def test_dialogues_come_while_the_learning_rate_falls() -> None:
    decay_start = SCHEDULE[-2][0]
    for start, stage in zip((0.0, *(s.end for s in STAGES)), STAGES, strict=False):
        assert (stage.dialogue_share > 0) == (start >= decay_start)


@pytest.mark.parametrize("steps", [100, 8000])
def test_the_learning_rate_follows_its_schedule(steps: int) -> None:
    plan = TrainingPlan(steps=steps)
    factors = [plan.learning_rate_factor(plan.progress(step)) for step in range(steps)]
    assert 0 < factors[0] < 0.3
    assert set(factors[steps // 20 : steps // 2]) == {1.0}
    assert factors[int(0.8 * steps)] == pytest.approx(0.5, abs=0.02)
    assert 0 < factors[-1] < 0.03
    assert plan.learning_rate_factor(1.0) == 0.0


def test_a_given_rate_of_holes_replaces_the_recipes() -> None:
    stages = stages_with(fim_rate=0.7)
    assert {stage.fim.rate for stage in stages} == {0.7}
    assert [stage.fim.spm_rate for stage in stages] == [stage.fim.spm_rate for stage in STAGES]
