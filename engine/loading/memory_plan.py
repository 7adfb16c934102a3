"""Chooses a model's number of bits and context window so that it fits the free memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from engine.architecture import Architecture
from engine.errors import ConfigurationError, OutOfMemoryError
from engine.loading.model_size import (
    BYTES_PER_WEIGHT_BY_NAME,
    GPU_LIBRARIES,
    NAME_MARGIN,
    USUAL_WINDOW,
    bytes_for_steps,
    bytes_needed,
)
from engine.machine import format_bytes, free_memory
from engine.model_config import Config
from engine.network.quantise import Bits
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
    config: Config,
    architecture: Architecture,
    device: str,
    reserved: int = 0,
) -> list[MemoryPlan]:
    """Return the plans for a lean model that should fit the free memory, best first.

    `reserved` is the number of bytes that must stay free for another model. Raises
    ConfigurationError for a window larger than the model's, and OutOfMemoryError if no plan fits.
    """
    full = window_of(settings, architecture.positions)
    base = compute_dtype(settings, device, architecture.num_parameters)
    names = _names(settings, config, device, base)
    free = max(0, _free(device) - reserved)
    plans = [
        MemoryPlan(name, base, _BITS.get(name), window, _reason(name, window, names[0], full, free))
        for name, window in _candidates(names, full, settings.context_window is not None)
        if _needed(architecture, name, window, device) <= free
    ]
    if not plans:
        needed = _needed(architecture, names[-1], min(full, _MIN_WINDOW), device)
        raise OutOfMemoryError(
            f"The model needs {format_bytes(needed)} in {names[-1]}, and {format_bytes(free)} is "
            f"free on {device}. Choose a smaller model"
            + ("." if names[-1] == "int4" else ", or set dtype to 'int8' or 'int4'.")
        )
    return plans


def sizes_needed(
    settings: EngineSettings, config: Config, architecture: Architecture, device: str
) -> list[int]:
    """Return the bytes that a lean model needs with its usual window, by number format.

    The formats are those that the settings allow, best first. Raises ConfigurationError for a
    window larger than the model's.
    """
    base = compute_dtype(settings, device, architecture.num_parameters)
    window = min(window_of(settings, architecture.positions), USUAL_WINDOW)
    names = _names(settings, config, device, base)
    return [_needed(architecture, name, window, device) for name in names]


def estimated_sizes(settings: EngineSettings, parameters: int, device: str) -> list[int]:
    """Return the same for a model of which only the number of parameters is known, roughly."""
    base = compute_dtype(settings, device, parameters)
    libraries = GPU_LIBRARIES if device == "cuda" else 0
    return [
        int(NAME_MARGIN * parameters * BYTES_PER_WEIGHT_BY_NAME[name]) + libraries
        for name in _names(settings, {}, device, base)
    ]


def _names(settings: EngineSettings, config: Config, device: str, base: torch.dtype) -> list[str]:
    """Return the number formats that the settings allow, best first."""
    if settings.dtype == "auto":
        return _automatic_names(config, device, base)
    return [settings.dtype]


def _automatic_names(config: Config, device: str, base: torch.dtype) -> list[str]:
    """Return the number formats that `auto` tries, best first.

    A model's config.json may name a smaller one for CPUs (`cpu_dtype`), if its author measured that
    it is as good: the embedded model answers twice as fast in int8.
    """
    names = [dtype_name(base), "int8", "int4"]
    own = config.get("cpu_dtype")
    return names[names.index(own) :] if device == "cpu" and own in names else names


_BITS: dict[str, Bits] = {"int8": 8, "int4": 4}


def _candidates(names: list[str], full: int, is_fixed: bool) -> Iterator[tuple[str, int]]:
    """Yield number formats and windows, best first.

    Prompts rarely fill a window of `USUAL_WINDOW`, so a larger one is worth less than more bits,
    and a smaller one is worth more.
    """
    windows = [full]
    while not is_fixed and windows[-1] // 2 >= _MIN_WINDOW:
        windows.append(windows[-1] // 2)
    large = [window for window in windows if window == full or window >= USUAL_WINDOW]
    yield from ((name, window) for name in names for window in large)
    yield from ((names[-1], window) for window in windows if window not in large)


def _reason(name: str, window: int, best_name: str, full: int, free: int) -> str:
    parts = [f"in {name} instead of {best_name}"] if name != best_name else []
    parts += [f"with a window of {window} instead of {full}"] if window != full else []
    return f"{' and '.join(parts)}, since {format_bytes(free)} is free" if parts else ""


def _needed(architecture: Architecture, name: str, window: int, device: str) -> int:
    steps = bytes_for_steps(architecture, name, window) if device == "cuda" else 0
    return bytes_needed(architecture, name, window) + steps


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
            f"The setting dtype is {settings.dtype!r}, which needs a model on a single device, "
            "of an architecture that starcoder-lsp computes itself. Use 'auto' or 'bfloat16'."
        )
