"""Memory that an engine leaves free for the model that another engine will load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import ConfigurationError, ModelError, OutOfMemoryError
from engine.loading.locate import locate, read_config
from engine.loading.memory_plan import MemoryPlan, sizes_needed
from engine.loading.model_size import parameter_count
from engine.machine import free_memory
from engine.settings import EngineSettings


def reserved_sizes(settings: EngineSettings, device: str) -> list[int]:
    """Return the bytes that the model `reserve_for` may take, one per number format, largest first.

    The list is empty if no memory needs to stay free on `device`: there is no such model on disk,
    or a second GPU has room for it.
    """
    if settings.reserve_for is None:
        return []
    # These settings belong to the other engine's model.
    other = replace(
        settings,
        model=settings.reserve_for,
        revision=None,
        draft_model=None,
        context_window=None,
        offline=True,
    )
    try:
        sizes = sizes_on_disk(other, device)
    except (ModelError, ConfigurationError):
        return []  # the other engine will report it
    gpus = sorted(free_memory().gpus, reverse=True) if device == "cuda" else []
    return [] if len(gpus) > 1 and sizes[0] <= gpus[1] else sizes


def sizes_on_disk(settings: EngineSettings, device: str) -> list[int]:
    """Return the bytes that a model on disk may take, one per number format, largest first.

    For a model whose size cannot be computed it is that of its files. Raises ModelError, and
    ConfigurationError for a window larger than the model's.
    """
    name, path = locate(settings, lambda *_: None)
    config = read_config(path, name)
    try:
        sizes = sizes_needed(settings, config, device, parameter_count(config))
        return sorted(sizes, reverse=True)
    except (KeyError, TypeError, ValueError):
        return [_bytes_of_weights(path)]


def _bytes_of_weights(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def plans_with_reserve(
    plans_for: Callable[[int], list[MemoryPlan]], sizes: Sequence[int]
) -> tuple[list[MemoryPlan], int]:
    """Return the memory plans of a model, and the number of bytes that they leave free.

    `plans_for` returns the plans that leave a number of bytes free. `sizes` are such numbers,
    largest first. The first size that does not make the context window smaller is used; else the
    last size that leaves any plan; else none, because this model must run in any case. Raises the
    errors of `plans_for`.
    """
    unreserved = plans_for(0)
    best = unreserved, 0
    for size in sizes:
        try:
            plans = plans_for(size)
        except OutOfMemoryError:
            continue
        best = plans, size
        if plans[0].window == unreserved[0].window:
            break
    return best
