"""Samples of processes over time: memory, threads, open files and child processes.

Linux and macOS only: Windows has no file descriptors.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_MIB = 1 << 20


def engines_in(directory: Path) -> list[psutil.Process]:
    """Return the engine processes that listen in this directory.

    A child of an engine, such as the compiler that it asks for its version, shows the engine's own
    arguments until it executes its program. It is not an engine.
    """
    matching: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments = process.cmdline()
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
            if not is_zombie and any(f"={directory}/" in each for each in arguments):
                matching[process.pid] = process
    engines = []
    for process in matching.values():
        with suppress(psutil.Error):
            if process.ppid() not in matching:
                engines.append(process)
    return engines


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process takes at one moment."""

    seconds: float
    """Seconds since the start of the measurement."""
    rss: float
    """Resident memory in MiB."""
    private: float
    """The part of it in MiB that no other process shares."""
    threads: int
    files: int
    """Number of open file descriptors."""
    children: int


def take_sample(process: psutil.Process, started: float) -> Sample:
    """Measure a process. Raises psutil.Error if it has ended."""
    with process.oneshot():
        memory = process.memory_full_info()
        files = process.num_fds()
        threads = process.num_threads()
    children = len(process.children(recursive=True))
    seconds = time.monotonic() - started
    return Sample(seconds, memory.rss / _MIB, memory.uss / _MIB, threads, files, children)


@dataclass
class Course:
    """The samples of one process."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    def window(self, start: float, end: float) -> Sequence[Sample]:
        """Return the samples between two times, in seconds."""
        return [sample for sample in self.samples if start <= sample.seconds <= end]

    def memory_at(self, seconds: float, width: float) -> float:
        """Return the median resident memory of the `width` seconds up to a time, in MiB."""
        window = self.window(seconds - width, seconds) or self.samples[-1:]
        return statistics.median(sample.rss for sample in window)

    def growth(self, warm_up: float, width: float) -> float:
        """Return the largest growth of the memory after the warm-up, as a share.

        Both ends are medians over `width` seconds, so a request in progress counts little.
        """
        base = self.memory_at(warm_up, width)
        later = [sample.seconds for sample in self.samples if sample.seconds >= warm_up]
        return max((self.memory_at(end, width) for end in later), default=base) / base - 1
