"""In how many bits a model is held, and with how large a context window: what the memory allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from engine.errors import ConfigurationError, OutOfMemoryError
from engine.loading.model_size import bytes_for_steps, bytes_needed, free_memory, human
from engine.network.quantised import Bits
from engine.settings import EngineSettings

_FLOAT32_PARAMETERS = 1_000_000_000
"""On a CPU, smaller models run in float32: exact, and as fast where bfloat16 is emulated."""

_SMALLEST_WINDOW = 1024
"""Positions below which a window is not made to save memory."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How to hold a model."""

    name: str
    """As the setting `dtype` has it."""
    dtype: torch.dtype
    """What is computed in."""
    bits: Bits | None
    """Of a matrix's weights, if fewer than those of `dtype`."""
    window: int
    """Positions."""
    reason: str
    """Empty for what would be taken on any machine; else what the user should know."""


def candidate_plans(
    settings: EngineSettings, config: dict[str, Any], device: str, parameters: int
) -> list[MemoryPlan]:
    """Return the ways to hold a lean model that the free memory seems to allow, best first.

    Raises ConfigurationError for a window that the model has not, OutOfMemoryError if there is no
    way.
    """
    positions = int(config["n_positions"])
    full = window_of(settings, positions)
    base = compute_dtype(settings, device, parameters)
    names: list[str] = [settings.dtype]
    if settings.dtype == "auto":
        names = [dtype_name(base), "int8", "int4"]
    free = _free(device)
    found = [
        MemoryPlan(name, base, _BITS.get(name), window, _reason(name, window, names[0], full, free))
        for name, window in _in_order(names, full, settings.context_window is not None)
        if _needed(config, name, window, device) <= free
    ]
    if not found:
        needed = _needed(config, names[-1], min(full, _SMALLEST_WINDOW), device)
        raise OutOfMemoryError(
            f"The model needs {human(needed)} in {names[-1]}, and {human(free)} is free on "
            f"{device}. Choose a smaller model"
            + ("." if names[-1] == "int4" else ", or set dtype to 'int8' or 'int4'.")
        )
    return found


_BITS: dict[str, Bits] = {"int8": 8, "int4": 4}


def _in_order(names: list[str], full: int, fixed: bool) -> Iterator[tuple[str, int]]:
    # Fewer bits before a smaller window: of a multi-query model the cache is a small part.
    yield from ((name, full) for name in names)
    window = full // 2
    while not fixed and window >= _SMALLEST_WINDOW:
        yield names[-1], window
        window //= 2


def _reason(name: str, window: int, best: str, full: int, free: int) -> str:
    parts = [f"in {name} rather than {best}"] if name != best else []
    parts += [f"with a window of {window} rather than {full}"] if window != full else []
    return f"{' and '.join(parts)}, for {human(free)} free" if parts else ""


def _needed(config: dict[str, Any], name: str, window: int, device: str) -> int:
    steps = bytes_for_steps(config, name, window) if device == "cuda" else 0
    return bytes_needed(config, name, window) + steps


def _free(device: str) -> int:
    free = free_memory()
    return free.largest_gpu if device == "cuda" else free.cpu


def compute_dtype(settings: EngineSettings, device: str, parameters: int) -> torch.dtype:
    """Return the number format to compute in: the set one, or what the device is best at."""
    if settings.dtype in _DTYPES:
        return _DTYPES[settings.dtype]
    if device in ("cuda", "balanced") and torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "mps":
        return torch.float16
    return torch.float32 if parameters < _FLOAT32_PARAMETERS else torch.bfloat16


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_name(dtype: torch.dtype) -> str:
    """Return `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def window_of(settings: EngineSettings, positions: int) -> int:
    """Return the context window; raises ConfigurationError for one the model has not."""
    if settings.context_window is None:
        return positions
    if settings.context_window > positions:
        raise ConfigurationError(
            f"The setting contextWindow is {settings.context_window}, but the model has only "
            f"{positions} positions."
        )
    return settings.context_window


def check_not_quantised(settings: EngineSettings) -> None:
    """Raise ConfigurationError for a dtype that only the lean forward computes with."""
    if settings.dtype in _BITS:
        raise ConfigurationError(
            f"The setting dtype is {settings.dtype!r}: that needs a multi-query StarCoder that "
            "lies wholly on one device. Use 'auto' or 'bfloat16'."
        )
