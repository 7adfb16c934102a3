"""Run the steps of `benchmarks.gpu.plan` within a time budget.

    python -m benchmarks.gpu --budget 400        # on a machine with a GPU
    python -m benchmarks.gpu --rehearse          # the same code on a CPU, with small shapes

Results are written to `results.jsonl` and the output of all steps to `log.txt`, in the folder that
the variable OUT names, or in `runs/gpu`. Both grow while the run goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gpu.isolation import isolated_environment
from benchmarks.gpu.plan import Step, steps
from benchmarks.gpu.results import FILE_VARIABLE, record

STOP_S = 5
"""Seconds that a step has to end after it was asked to."""


def run_step(step: Step, limit_s: float, log: Path, environment: Mapping[str, str]) -> int:
    """Run one step with its output in the log; return its exit status, 124 if it was stopped."""
    command = [sys.executable, "-u", "-m", step.module, *step.arguments]
    with log.open("a", encoding="utf-8") as output:
        output.write(f"\n== {step.name}: {' '.join(command[2:])}\n")
        output.flush()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return 124


def last_lines(log: Path, count: int) -> str:
    """Return the last lines of the log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


def main(
    budget: Annotated[float, typer.Option(help="Seconds for all steps together.")] = 600,
    out: Annotated[Path, typer.Option(envvar="OUT", help="Folder of the results.")] = Path(
        "runs/gpu"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="Run only the steps whose names contain this.")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run small shapes on the CPU, in isolation.")
    ] = False,
) -> None:
    """Run the steps until the budget is used up; fail if one of them failed."""
    out.mkdir(parents=True, exist_ok=True)
    results, log = out / "results.jsonl", out / "log.txt"
    log.touch()
    os.environ[FILE_VARIABLE] = str(results.resolve())
    end = time.monotonic() + budget
    failed = []
    with isolated_environment(os.environ, enabled=rehearse) as environment:
        for step in steps(rehearse=rehearse):
            if only and not any(part in step.name for part in only):
                continue
            left = end - time.monotonic()
            if left < step.min_s:
                record("skipped", step=step.name, left_s=round(left))
                continue
            started = time.monotonic()
            status = run_step(step, min(left, step.limit_s), log, environment)
            seconds = round(time.monotonic() - started, 1)
            record("step", step=step.name, status=status, seconds=seconds)
            if status:
                failed.append(step.name)
                print(last_lines(log, 40), flush=True)
            elif step.module == "pytest":
                print(last_lines(log, 3), flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}; see {log}", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
