"""Measure only while the machine does nothing else.

Threads of llama.cpp spin while they wait for each other. One other busy core made it twenty times
slower, which would say nothing about our engine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import psutil

from benchmarks.common import Contender, Timing

_BUSY_PERCENT = 15.0
"""Share of all cores that other programs may use."""
_SAMPLE_S = 0.2
_MAX_WAIT_S = 600.0
_STEADY = 1.25
"""Largest ratio of median and minimum of steady runs."""


def wait_until_quiet(busy_percent: Callable[[float], float] = psutil.cpu_percent) -> None:
    """Wait until other programs use little of the processor; raise SystemExit if they do not."""
    deadline = time.monotonic() + _MAX_WAIT_S
    while busy_percent(_SAMPLE_S) > _BUSY_PERCENT:
        if time.monotonic() > deadline:
            raise SystemExit("Other programs use the processor. Close them and measure again.")


def when_quiet(contender: Contender) -> Contender:
    """Return a contender that waits for a quiet machine before each run."""

    def run(prompt: tuple[int, ...], count: int) -> Timing:
        wait_until_quiet()
        return contender(prompt, count)

    return run


def is_steady(milliseconds: Sequence[float]) -> bool:
    """Return whether no other program can have disturbed most of the runs."""
    return statistics.median(milliseconds) <= _STEADY * min(milliseconds)
