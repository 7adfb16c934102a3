"""Each step of a GPU run starts, on the day as in the rehearsal."""

import importlib.util
from pathlib import Path

import pytest

from benchmarks.gpu.plan import steps

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("rehearse", [True, False])
def test_each_step_runs_a_module_that_exists(*, rehearse: bool) -> None:
    plan = steps(rehearse=rehearse)
    assert len({step.name for step in plan}) == len(plan) > 4
    for step in plan:
        spec = importlib.util.find_spec(step.module)
        assert spec is not None, step
        if spec.submodule_search_locations is not None:
            assert importlib.util.find_spec(f"{step.module}.__main__") is not None, step


@pytest.mark.parametrize("rehearse", [True, False])
def test_each_step_has_enough_time(*, rehearse: bool) -> None:
    for step in steps(rehearse=rehearse):
        assert 0 < step.min_s <= step.limit_s, step


@pytest.mark.parametrize("rehearse", [True, False])
def test_each_step_of_tests_names_files_that_exist_and_reports_failures(*, rehearse: bool) -> None:
    test_steps = [step for step in steps(rehearse=rehearse) if step.module == "pytest"]
    assert test_steps
    for step in test_steps:
        paths = [argument for argument in step.arguments if argument.startswith("tests/")]
        assert paths
        assert all((ROOT / path).exists() for path in paths), paths
        position = step.arguments.index("benchmarks.gpu.failure_report")
        assert step.arguments[position - 1] == "-p"


def test_only_the_rehearsal_uses_small_shapes() -> None:
    measured = [step for step in steps(rehearse=False) if step.module.startswith("benchmarks.")]
    assert measured
    assert not any("--rehearse" in step.arguments for step in measured)
    rehearsed = {step.module: step for step in steps(rehearse=True)}
    for module in {step.module for step in measured}:
        assert "--rehearse" in rehearsed[module].arguments


def test_a_busy_cpu_has_several_times_as_long_as_a_gpu() -> None:
    limits = {step.name: step.limit_s for step in steps(rehearse=False)}
    rehearsed = {step.name: step.limit_s for step in steps(rehearse=True)}
    common = limits.keys() & rehearsed.keys()
    assert {"CUDA tests", "product", "start"} <= common
    assert all(rehearsed[name] > 3 * limits[name] for name in common)
