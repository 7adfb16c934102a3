"""Measure the speed of training steps on random data, to choose a shape and a batch size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from accelerate import PartialState

from training.device import device_name, peak_flops
from training.labels import LabelWeights
from training.model import ModelShape, flops_per_token
from training.plan import LearningRates
from training.step import StepRunner


@dataclass(frozen=True, slots=True)
class Throughput:
    """Speed of one configuration."""

    device: str
    width: int
    layers: int
    rows_per_step: int
    is_compiled: bool
    preparation_seconds: float
    """Seconds to make the model, compile it and run the first steps."""
    steps: int
    """Number of measured steps."""
    milliseconds_per_step: float
    tokens_per_second: float
    teraflops: float
    """10^12 floating-point operations of matrix products per second."""
    utilisation: float | None
    """Share of the device's peak rate in bfloat16, if that is known."""
    peak_gigabytes: float
    loss: float
    """Loss of the last step, to see that it is a number."""


def measure(
    shape: ModelShape,
    rows_per_step: int,
    state: PartialState,
    *,
    is_compiled: bool,
    num_steps: int = 40,
    max_seconds: float = 15.0,
    say: Callable[[str], None] = print,
) -> Throughput:
    """Run steps on random sequences for at most about `max_seconds` after the preparation."""
    started = time.monotonic()
    torch.compiler.reset()
    runner = StepRunner(shape, LearningRates(), state, rows_per_batch=rows_per_step)
    if runner.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    did_compile = is_compiled and runner.compile(rows_per_step, say)
    rng = np.random.default_rng(0)
    size = (4, rows_per_step, shape.positions)
    data = rng.integers(19, shape.vocab_size, size).astype(np.uint16)
    weights = LabelWeights(middle=2.0)
    for _ in range(3):
        runner.run(data[0], weights, 1.0)
    runner.synchronize()
    measured_from = time.monotonic()
    for num_done in range(1, num_steps + 1):
        loss = runner.run(data[num_done % len(data)], weights, 1.0)
        if num_done % 5 == 0:
            runner.synchronize()
            if time.monotonic() - measured_from > max_seconds:
                break
    runner.synchronize()
    seconds = (time.monotonic() - measured_from) / num_done
    tokens_per_second = rows_per_step * shape.positions / seconds
    flops, peak = tokens_per_second * flops_per_token(shape), peak_flops(runner.device)
    is_cuda = runner.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated() / 1e9 if is_cuda else 0.0
    return Throughput(
        device_name(runner.device),
        shape.width,
        shape.layers,
        rows_per_step,
        did_compile,
        round(measured_from - started, 1),
        num_done,
        round(seconds * 1e3, 2),
        round(tokens_per_second),
        round(flops / 1e12, 2),
        round(flops / peak, 3) if peak else None,
        round(memory, 1),
        round(float(loss), 3),
    )


def describe(result: Throughput) -> dict[str, object]:
    """Return the fields of a result for JSON."""
    return asdict(result)
