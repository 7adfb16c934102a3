"""The limits of the device, measured: a large copy and a large matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_ON_GPU = torch.cuda.is_available()
_DEVICE = "cuda" if _ON_GPU else "cpu"
_COPY_BYTES = 4 << 30 if _ON_GPU else 64 << 20
_SIDE = 8192 if _ON_GPU else 512
_REPEATS = 20


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Rates of the device."""

    bytes_per_s: float
    """Bytes read and written per second by a copy within the device's memory."""
    read_bytes_per_s: float
    """Bytes read per second by a sum over the device's memory."""
    operations_per_s: float
    """Operations per second of a large bfloat16 matrix product on random data."""


def synchronize() -> None:
    """Wait for the device."""
    if _ON_GPU:
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Return the mean seconds of a run, after three that warm up."""
    for _ in range(3):
        run()
    synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize()
    return (time.perf_counter() - started) / repeats


def measure_ceilings() -> Ceilings:
    """Measure the device. This needs 9 GB of a GPU's memory for a moment."""
    rates = Ceilings(_copy_rate(), _read_rate(), _operation_rate())
    if _ON_GPU:
        torch.cuda.empty_cache()
    return rates


def _copy_rate() -> float:
    source = torch.randn(_COPY_BYTES // 4, device=_DEVICE)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / seconds_of(lambda: target.copy_(source))


def _read_rate() -> float:
    source = torch.randn(_COPY_BYTES // 4, device=_DEVICE)
    return _COPY_BYTES / seconds_of(source.amax)


def _operation_rate() -> float:
    a = torch.randn(_SIDE, _SIDE, device=_DEVICE, dtype=torch.bfloat16)
    b = torch.randn(_SIDE, _SIDE, device=_DEVICE, dtype=torch.bfloat16)
    return 2 * _SIDE**3 / seconds_of(lambda: a @ b)
