"""The steps of a GPU run, the most valuable first."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace

CUDA_TESTS = (
    "tests/engine/kernels/test_triton_products.py",
    "tests/engine/kernels/test_triton_step.py",
    "tests/engine/network",
    "tests/engine/decoding",
    "tests/engine/kv_cache",
    "tests/engine/loading",
)
"""Tests that run other code on a CUDA device than on a CPU."""

_REHEARSED_TESTS = ("tests/engine/kernels/test_triton_products.py",)
"""What a rehearsal runs of them. `make test` runs all, in Triton's interpreter, for minutes."""

_REHEARSAL_FACTOR = 6
"""How much longer the steps of a rehearsal may take. It checks that they run, not how fast: a busy
CPU takes several times as long as usual."""

_NUM_TEST_PROCESSES = min(12, os.cpu_count() or 1)
_THROUGHPUT = ("throughput", "--shape", "512x8", "--rows-per-step", "64", "--rows-per-step", "128")


@dataclass(frozen=True, slots=True)
class Step:
    """One process of a run, with a time limit."""

    name: str
    module: str
    """Module that the step runs, with `python -m`."""
    arguments: tuple[str, ...]
    limit_s: int
    """Seconds after which the step is stopped."""
    min_s: int = 10
    """Seconds without which the step is not started."""


def _tests(name: str, paths: tuple[str, ...], limit_s: int) -> Step:
    parallel = ("-n", str(_NUM_TEST_PROCESSES)) if importlib.util.find_spec("xdist") else ()
    # The tests of Triton's interpreter have their own limit.
    options = ("-q", "--timeout=60", "-W", "default", "-p", "no:cacheprovider")
    options = (*options, "-p", "benchmarks.gpu.failure_report", *parallel)
    return Step(name, "pytest", (*options, *paths), limit_s, min_s=30)


def steps(*, rehearse: bool) -> list[Step]:
    """Return the steps. A rehearsal runs the same code on a CPU, with small shapes."""
    small = ("--rehearse",) if rehearse else ()
    shapes = ("tiny",) if rehearse else ("15b", "1b", "164m")
    tests = _REHEARSED_TESTS if rehearse else CUDA_TESTS
    plan = [_tests("CUDA tests", tests, 120), _model(shapes[0], 140, small)]
    if rehearse:
        plan.insert(0, Step("wheels", "benchmarks.gpu.wheel_check", (), 180))
        plan.append(Step("training", "benchmarks.gpu.training_session", (), 150))
    else:
        plan.append(Step("training throughput", "training", _THROUGHPUT, 60))
    plan.append(Step("products", "benchmarks.gpu.products", small, 75))
    plan += [_model(shape, 45, small) for shape in shapes[1:]]
    plan.append(Step("product", "benchmarks.gpu.product_check", small, 60))
    plan.append(Step("start", "benchmarks.gpu.start_time", small, 90))
    if not rehearse:
        plan.append(_tests("engine tests", ("tests/engine",), 300))
        return plan
    return [replace(step, limit_s=step.limit_s * _REHEARSAL_FACTOR) for step in plan]


def _model(shape: str, limit_s: int, options: tuple[str, ...]) -> Step:
    return Step(f"model {shape}", "benchmarks.gpu.model_speed", (shape, *options), limit_s)
