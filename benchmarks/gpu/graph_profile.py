"""The kernels of a decoding step by their time, from torch's profiler."""

from __future__ import annotations

from benchmarks.common import tokens
from benchmarks.gpu.results import record
from engine.network.model import LoadedModel

import torch  # isort: skip
from torch.profiler import ProfilerActivity, profile  # isort: skip

_NUM_STEPS = 4
_NUM_KERNELS = 14


def profile_steps(name: str, model: LoadedModel) -> None:
    """Record the kernels that take most of a decoding step, in microseconds per step."""
    is_cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]
    generated = tokens(model, tuple(range(30, 542)), _NUM_STEPS + 2)
    next(generated)
    next(generated)
    with profile(activities=activities) as profiler:
        for _ in range(_NUM_STEPS):
            next(generated)
    for _ in generated:
        pass
    averages = profiler.key_averages()
    rows = [
        (average.key, average.count / _NUM_STEPS, _microseconds(average) / _NUM_STEPS)
        for average in averages
    ]
    rows.sort(key=lambda row: -row[2])
    record(
        "kernels",
        dtype=name,
        total_us=round(sum(row[2] for row in rows), 1),
        kernels=[
            {"name": key[:90], "count": count, "us": round(us, 1)}
            for key, count, us in rows[:_NUM_KERNELS]
        ],
    )


def _microseconds(average: object) -> float:
    return float(
        getattr(average, "self_device_time_total", 0) or getattr(average, "self_cpu_time_total", 0)
    )
