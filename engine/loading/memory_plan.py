"""Chooses a model's number of bits and context window so that it fits the free memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from engine.errors import ConfigurationError, OutOfMemoryError
from engine.loading.model_size import bytes_for_steps, bytes_needed
from engine.machine import format_bytes, free_memory
from engine.network.quantised import Bits
from engine.settings import EngineSettings

_FLOAT32_PARAMETERS = 1_000_000_000
"""Number of parameters below which a model on a CPU uses float32.

float32 is exact, and as fast as bfloat16 on processors that emulate bfloat16.
"""

_MIN_WINDOW = 1024
"""Smallest context window, in tokens, that is chosen to save memory."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Data type and context window that a model is loaded with."""

    name: str
    """Value of the setting `dtype` that selects this plan's data type."""
    dtype: torch.dtype
    """Type of the computation."""
    bits: Bits | None
    """Bits of a weight, if quantised; None if weights are of type `dtype`."""
    window: int
    """Context window in tokens."""
    reason: str
    """Reason why the plan is not the best one, for the user; empty for the best plan."""


def candidate_plans(
    settings: EngineSettings,
    config: dict[str, Any],
    device: str,
    parameters: int,
    reserved: int = 0,
) -> list[MemoryPlan]:
    """Return the plans for a lean model that should fit the free memory, best first.

    `reserved` is the number of bytes that must stay free for another model. Raises
    ConfigurationError for a window larger than the model's, and OutOfMemoryError if no plan fits.
    """
    positions = int(config["n_positions"])
    full = window_of(settings, positions)
    base = compute_dtype(settings, device, parameters)
    names = _names(settings, config, device, base)
    free = max(0, _free(device) - reserved)
    plans = [
        MemoryPlan(name, base, _BITS.get(name), window, _reason(name, window, names[0], full, free))
        for name, window in _candidates(names, full, settings.context_window is not None)
        if _needed(config, name, window, device) <= free
    ]
    if not plans:
        needed = _needed(config, names[-1], min(full, _MIN_WINDOW), device)
        raise OutOfMemoryError(
            f"The model needs {format_bytes(needed)} in {names[-1]}, and {format_bytes(free)} is "
            f"free on {device}. Choose a smaller model"
            + ("." if names[-1] == "int4" else ", or set dtype to 'int8' or 'int4'.")
        )
    return plans


def sizes_needed(
    settings: EngineSettings, config: dict[str, Any], device: str, parameters: int
) -> list[int]:
    """Return the bytes that a lean model needs with its full window, by number format.

    The formats are those that the settings allow, best first. Raises ConfigurationError for a
    window larger than the model's.
    """
    base = compute_dtype(settings, device, parameters)
    full = window_of(settings, int(config["n_positions"]))
    names = _names(settings, config, device, base)
    return [_needed(config, name, full, device) for name in names]


def _names(
    settings: EngineSettings, config: dict[str, Any], device: str, base: torch.dtype
) -> list[str]:
    """Return the number formats that the settings allow, best first."""
    if settings.dtype == "auto":
        return _automatic_names(config, device, base)
    return [settings.dtype]


def _automatic_names(config: dict[str, Any], device: str, base: torch.dtype) -> list[str]:
    """Return the number formats that `auto` tries, best first.

    A model's config.json may name a smaller one for CPUs (`cpu_dtype`), if its author measured that
    it is as good: the embedded model answers twice as fast in int8.
    """
    names = [dtype_name(base), "int8", "int4"]
    own = config.get("cpu_dtype")
    return names[names.index(own) :] if device == "cpu" and own in names else names


_BITS: dict[str, Bits] = {"int8": 8, "int4": 4}


def _candidates(names: list[str], full: int, is_fixed: bool) -> Iterator[tuple[str, int]]:
    # Fewer bits come before a smaller window, since the KV cache of a multi-query model is small.
    yield from ((name, full) for name in names)
    window = full // 2
    while not is_fixed and window >= _MIN_WINDOW:
        yield names[-1], window
        window //= 2


def _reason(name: str, window: int, best_name: str, full: int, free: int) -> str:
    parts = [f"in {name} instead of {best_name}"] if name != best_name else []
    parts += [f"with a window of {window} instead of {full}"] if window != full else []
    return f"{' and '.join(parts)}, since {format_bytes(free)} is free" if parts else ""


def _needed(config: dict[str, Any], name: str, window: int, device: str) -> int:
    steps = bytes_for_steps(config, name, window) if device == "cuda" else 0
    return bytes_needed(config, name, window) + steps


def _free(device: str) -> int:
    free = free_memory()
    return free.largest_gpu if device == "cuda" else free.cpu


def compute_dtype(settings: EngineSettings, device: str, parameters: int) -> torch.dtype:
    """Return the type of the computation: the setting's, or the best for the device."""
    if settings.dtype in _DTYPES:
        return _DTYPES[settings.dtype]
    if device in ("cuda", "balanced") and torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "mps":
        return torch.float16
    return torch.float32 if parameters < _FLOAT32_PARAMETERS else torch.bfloat16


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_name(dtype: torch.dtype) -> str:
    """Return a type's name, such as `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def window_of(settings: EngineSettings, positions: int) -> int:
    """Return the context window; raises ConfigurationError if it exceeds the model's."""
    if settings.context_window is None:
        return positions
    if settings.context_window > positions:
        raise ConfigurationError(
            f"The setting contextWindow is {settings.context_window}, but the model's maximum is "
            f"{positions}. Set it to at most {positions}."
        )
    return settings.context_window


def check_not_quantised(settings: EngineSettings) -> None:
    """Raise ConfigurationError for a dtype that only the lean forward pass supports."""
    if settings.dtype in _BITS:
        raise ConfigurationError(
            f"The setting dtype is {settings.dtype!r}, which needs a multi-query StarCoder on a "
            "single device. Use 'auto' or 'bfloat16'."
        )
