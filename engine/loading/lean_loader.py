"""Loads a multi-query GPTBigCode model on a single device, for `LeanForward`."""

from __future__ import annotations

from functools import partial

import torch
from safetensors import SafetensorError

from engine.errors import UnsupportedModelError
from engine.kv_cache.arena import Arena, largest_arena
from engine.kv_cache.cache import CacheShape
from engine.kv_cache.pool import default_limit
from engine.loading.catalog import MODEL_TYPE
from engine.loading.memory_plan import MemoryPlan, candidate_plans
from engine.loading.model_size import parameter_count
from engine.loading.reserve import plans_with_reserve, reserved_sizes
from engine.loading.safetensors_reader import read_weights
from engine.loading.source import LoadedNetwork, ModelSource, cannot_load, too_large
from engine.machine import is_out_of_memory
from engine.network.backend import Backend
from engine.network.lean_forward import LeanForward


def load_lean(source: ModelSource, backend: Backend, max_windows: int) -> LoadedNetwork | None:
    """Load a model for `LeanForward`; return None for a model that it does not support.

    Raises UnsupportedModelError for damaged files, ConfigurationError for a context window that the
    model does not have, and OutOfMemoryError if no memory plan works.
    """
    config, name, device = source.config, source.name, source.device
    is_lean = config["model_type"] == MODEL_TYPE and config.get("multi_query", True)
    if not is_lean or device == "balanced":
        return None
    try:
        parameters = parameter_count(config)
        plans, reserved = plans_with_reserve(
            partial(candidate_plans, source.settings, config, device, parameters),
            reserved_sizes(source.settings, device),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModelError(f"The config.json of {name} is damaged: {error}") from error
    if device == "cpu":
        backend.use_decode_threads(parameters)
    for plan in plans:
        try:
            return _load_with_plan(source, backend, plan, max_windows, reserved)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise cannot_load(name, source.path, error) from error
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise cannot_load(name, source.path, error) from error
    raise too_large(name, device, source.settings.dtype)


def _load_with_plan(
    source: ModelSource, backend: Backend, plan: MemoryPlan, max_windows: int, reserved: int
) -> LoadedNetwork:
    reason = f", {plan.reason}" if plan.reason else ""
    activity = f"loading {source.name} ({plan.name}, {source.device}){reason}"
    source.progress(activity, None)
    weights = read_weights(
        source.path,
        source.config,
        plan.dtype,
        plan.bits,
        source.device,
        backend,
        partial(source.progress, activity),
    )
    devices = (weights.device,) * len(weights.layers)
    shape = CacheShape(plan.window, 1, weights.head_dim, devices, weights.dtype)
    arena = allocate_arena(shape, max_windows, reserved)
    forward = LeanForward(weights, backend, arena)
    return LoadedNetwork(forward, weights, weights.tokens.shape[0], shape, plan, arena, reserved)


def allocate_arena(shape: CacheShape, max_windows: int, reserved: int) -> Arena | None:
    """Return an arena of up to `max_windows` full context windows, None for a model on a CPU.

    `reserved` bytes stay free for another model.
    """
    if shape.devices[0].type != "cuda":
        return None
    torch.cuda.empty_cache()  # otherwise memory that reading took would not count as free
    return largest_arena(shape, default_limit(shape, max_windows, reserved))
