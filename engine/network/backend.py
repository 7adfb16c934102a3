"""The compiled kernels and the number of threads with which a network computes on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.kernels.build import KernelBuild
from engine.kernels.native import Native
from engine.machine import num_physical_cores

_ONE_THREAD_PARAMETERS = 30_000_000
"""Number of parameters below which a model decodes with one thread."""

MIN_PREFILL_ROWS = 64
"""Number of rows from which a step uses all cores, even for a small model."""


class Backend:
    """The compiled kernels and the threads of the engine's thread.

    One engine has one backend, which the models in it share. torch keeps the number of threads for
    the whole process, so only this class sets it.
    """

    def __init__(self, kernels: KernelBuild | None = None) -> None:
        """Create a backend; with `kernels` None it uses torch's own operations only."""
        self._kernels = kernels
        self._num_cores = num_physical_cores()

    def compile(self) -> None:
        """Start compiling the kernels on another thread. Until they are ready, torch is used."""
        if self._kernels is not None:
            self._kernels.start()

    def native(self) -> Native | None:
        """Return the compiled kernels, None while they are not ready or cannot be compiled."""
        return None if self._kernels is None else self._kernels.ready()

    def wait(self) -> Native | None:
        """Wait until the kernels are compiled and return them; None if they cannot be compiled."""
        return None if self._kernels is None else self._kernels.wait()

    @staticmethod
    def use_decode_threads(parameters: int) -> None:
        """Set the number of threads that suits decoding with a model of this size."""
        torch.set_num_threads(num_decode_threads(parameters))

    @contextmanager
    def prefill_threads(self) -> Iterator[None]:
        """Use all cores within the context, for a step of `MIN_PREFILL_ROWS` rows or more."""
        before = torch.get_num_threads()
        if before >= self._num_cores:
            yield
            return
        torch.set_num_threads(self._num_cores)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def num_decode_threads(parameters: int) -> int:
    """Return the number of CPU threads for a model with this number of parameters.

    The products of a small model are too short to share out. Threads that wait for each other then
    cost more than they save, and much more while other programs use the processor.
    """
    return 1 if parameters < _ONE_THREAD_PARAMETERS else num_physical_cores()
