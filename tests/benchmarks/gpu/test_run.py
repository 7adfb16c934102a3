"""`python -m benchmarks.gpu` runs its steps within their limits and its budget."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from benchmarks.gpu import __main__ as program
from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import FILE_VARIABLE, read_results

MODULES = {
    "passing_step": "import sys; print('passed', *sys.argv[1:]); print('error', file=sys.stderr)",
    "failing_step": "print('the reason'); raise SystemExit(3)",
    "sleeping_step": "import time; print('asleep', flush=True); time.sleep(60)",
    "stubborn_step": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('asleep', flush=True); time.sleep(60)"
    ),
    "recording_step": "from benchmarks.gpu.results import record; record('measured', ms=1)",
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of processes that can run the modules above."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(FILE_VARIABLE, "")  # `main` sets it, and this restores it
    return dict(os.environ)


def test_the_output_of_a_step_is_written_to_the_log(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    log = tmp_path / "log.txt"
    for name in ("one", "two"):
        step = Step(name, "passing_step", ("--size", name), 10)
        assert program.run_step(step, 10, log, environment) == 0
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("== ")] == [
        "== one: -m passing_step --size one",
        "== two: -m passing_step --size two",
    ]
    assert lines.count("passed --size two") == 1
    assert lines.count("error") == 2


def test_a_failing_step_has_its_own_exit_status(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    step = Step("fails", "failing_step", (), 10)
    assert program.run_step(step, 10, tmp_path / "log.txt", environment) == 3


@pytest.mark.parametrize("module", ["sleeping_step", "stubborn_step"])
def test_a_step_is_stopped_at_its_limit(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(program, "STOP_S", 0.3)
    log, started = tmp_path / "log.txt", time.monotonic()
    assert program.run_step(Step("sleeps", module, (), 60), 0.8, log, environment) == 124
    assert 0.8 <= time.monotonic() - started < 8
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "asleep"


def test_the_last_lines_of_a_log_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\nsecond\n\xff\n")
    assert program.last_lines(log, 2) == "second\n\ufffd"


Run = Callable[..., tuple[Result, list[dict[str, Any]]]]


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the program with other steps; it returns the results."""
    assert environment

    def run(plan: list[Step], *arguments: str) -> tuple[Result, list[dict[str, Any]]]:
        monkeypatch.setattr(program, "steps", lambda *, rehearse: plan)
        app = typer.Typer()
        app.command()(program.main)
        out = tmp_path / "new" / "out"
        result = CliRunner().invoke(app, ["--out", str(out), *arguments])
        return result, list(read_results(out / "results.jsonl"))

    return run


def test_after_a_failed_step_the_others_run_and_the_exit_status_is_1(run: Run) -> None:
    plan = [
        Step("fails", "failing_step", (), 10),
        Step("measures", "recording_step", (), 10),
        Step("passes", "passing_step", (), 10),
    ]
    result, results = run(plan, "--budget", "60")
    assert result.exit_code == 1
    assert "failed: fails; see" in result.output
    assert "the reason" in result.output
    measured = [entry for entry in results if entry["name"] == "measured"]
    assert measured == [{"name": "measured", "ms": 1}]
    assert [(e["step"], e["status"]) for e in results if e["name"] == "step"] == [
        ("fails", 3),
        ("measures", 0),
        ("passes", 0),
    ]


def test_if_all_steps_pass_the_exit_status_is_0(run: Run) -> None:
    result, results = run([Step("passes", "passing_step", (), 10)])
    assert result.exit_code == 0
    assert [entry["status"] for entry in results] == [0]


def test_steps_without_enough_budget_are_skipped(run: Run) -> None:
    plan = [
        Step("long", "failing_step", (), 300, min_s=200),
        Step("short", "passing_step", (), 20, min_s=10),
        Step("also long", "failing_step", (), 300, min_s=101),
    ]
    result, results = run(plan, "--budget", "100")
    assert result.exit_code == 0
    assert [(entry["name"], entry["step"]) for entry in results] == [
        ("skipped", "long"),
        ("step", "short"),
        ("skipped", "also long"),
    ]
    assert 90 <= results[0]["left_s"] <= 100


def test_a_step_ends_with_the_budget_if_its_own_limit_is_later(run: Run) -> None:
    result, results = run([Step("sleeps", "sleeping_step", (), 60, min_s=1)], "--budget", "1.5")
    assert result.exit_code == 1
    assert [entry["status"] for entry in results] == [124]
    assert results[0]["seconds"] < 10


def test_a_step_ends_at_its_own_limit_if_the_budget_is_larger(run: Run) -> None:
    result, results = run([Step("sleeps", "sleeping_step", (), 1)], "--budget", "60")
    assert result.exit_code == 1
    assert [entry["status"] for entry in results] == [124]
    assert results[0]["seconds"] < 10


def test_only_the_named_steps_run(run: Run) -> None:
    names = ("model 15b", "model 1b", "products")
    plan = [Step(name, "passing_step", (), 10) for name in names]
    _, results = run(plan, "--only", "1b", "--only", "products")
    assert [entry["step"] for entry in results] == ["model 1b", "products"]
