"""Memory that an engine leaves free for the model that another engine will load."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import ModelNotFoundError, OutOfMemoryError
from engine.loading.locate import locate, may_arrive, read_config
from engine.loading.memory_plan import MemoryPlan, estimated_sizes, sizes_needed
from engine.loading.name_size import parameters_in_name
from engine.machine import free_memory
from engine.model_config import require_architecture
from engine.settings import EngineSettings

log = logging.getLogger(__name__)


def reserved_sizes(settings: EngineSettings, device: str) -> list[int]:
    """Return the bytes that the model `reserve_for` may take, by number format, best format first.

    For a model that will be downloaded, its name states the number of parameters
    (`engine.loading.name_size`), and the sizes are estimates. The list is empty if no memory needs
    to stay free on `device`:

    - A second GPU has room for the model.
    - The model is damaged, or not on disk and never will be: downloading is off, or its name is no
      hub id.
    - It is not on disk and its name states no size.

    For a hub id that is misspelt, or of a gated model without access, memory stays free in vain.
    """
    if settings.reserve_for is None:
        return []
    sizes = _sizes_of_other(settings, settings.reserve_for, device)
    gpus = sorted(free_memory().gpus, reverse=True) if device == "cuda" else []
    return [] if len(gpus) > 1 and sizes and sizes[0] <= gpus[1] else sizes


def _sizes_of_other(settings: EngineSettings, model: str, device: str) -> list[int]:
    # These settings belong to the other engine's model.
    other = replace(
        settings,
        model=model,
        revision=None,
        draft_model=None,
        context_window=None,
        offline=True,
    )
    try:
        return sizes_on_disk(other, device)
    except ModelNotFoundError:
        return _sizes_by_name(replace(other, offline=settings.offline), device)
    except Exception as error:
        # Whatever is wrong with the other model, its engine reports it, and this one must run.
        log.info("no memory is reserved for the other model: %s", type(error).__name__)
        return []


def _sizes_by_name(settings: EngineSettings, device: str) -> list[int]:
    """Return the sizes of a model that is not on disk, empty if nothing is known about it."""
    if not may_arrive(settings):
        log.info("no memory is reserved for the other model: it is not on this machine")
        return []
    parameters = parameters_in_name(settings.model)
    if parameters is None:
        log.info("no memory is reserved for the other model: its name does not state its size")
        return []
    log.info("memory is reserved for the other model by its name: %.2g parameters", parameters)
    return estimated_sizes(settings, parameters, device)


def sizes_on_disk(settings: EngineSettings, device: str) -> list[int]:
    """Return the bytes that a model on disk may take, by number format, best format first.

    For a model whose size cannot be computed it is that of its files. Raises ModelError, and
    ConfigurationError for a window larger than the model's.
    """
    name, path = locate(settings, lambda *_: None)
    config = read_config(path, name)
    try:
        return sizes_needed(settings, config, require_architecture(config), device)
    except (KeyError, TypeError, ValueError):
        return [_bytes_of_weights(path)]


def _bytes_of_weights(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def plans_with_reserve(
    plans_for: Callable[[int], list[MemoryPlan]], sizes: Sequence[int]
) -> tuple[list[MemoryPlan], int]:
    """Return the memory plans of a model, and the number of bytes that they leave free.

    `plans_for` returns the plans that leave a number of bytes free. `sizes` are such numbers, one
    per number format of the other model, best format first. The size is chosen that leaves the
    largest context window; then the one whose worse of the two formats is best; then the one with
    the best format of this model. Nothing stays free if no plan fits otherwise, because this model
    must run in any case. Raises the errors of `plans_for`.
    """
    unreserved = plans_for(0)
    names = list(dict.fromkeys(plan.name for plan in unreserved))
    best, best_value = (unreserved, 0), (0, 0, 0)
    for index, size in enumerate(sizes):
        try:
            plans = plans_for(size)
        except OutOfMemoryError:
            continue
        # Both lists end with the smallest format. Large formats that do not fit are not in `names`.
        own_format, other_format = len(names) - names.index(plans[0].name), len(sizes) - index
        value = (plans[0].window, min(own_format, other_format), own_format)
        if value > best_value:
            best, best_value = (plans, size), value
    return best
