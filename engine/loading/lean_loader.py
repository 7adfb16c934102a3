"""Loads a dense decoder on a single device, for `LeanForward`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError

from engine.architecture import Architecture
from engine.errors import UnsupportedModelError, reason_of
from engine.kv_cache.arena import Arena, largest_arena
from engine.kv_cache.cache import CacheShape
from engine.kv_cache.pool import default_limit
from engine.loading.gguf_file import GgufFile, gguf_in
from engine.loading.memory_plan import MemoryPlan, candidate_plans
from engine.loading.reserve import plans_with_reserve, reserved_sizes
from engine.loading.safetensors_reader import SafetensorsFiles
from engine.loading.source import LoadedNetwork, ModelSource, cannot_load, too_large
from engine.loading.weight_reader import TensorFiles, WeightsTarget, read_weights
from engine.machine import is_out_of_memory
from engine.model_config import read_architecture
from engine.network.backend import Backend
from engine.network.lean_forward import LeanForward


def load_lean(source: ModelSource, backend: Backend, max_windows: int) -> LoadedNetwork | None:
    """Load a model for `LeanForward`; return None for a model that it does not support.

    Raises UnsupportedModelError for damaged files, ConfigurationError for a context window that the
    model does not have, and OutOfMemoryError if no memory plan works.
    """
    config, name, device = source.config, source.name, source.device
    if device == "balanced":
        return None
    try:
        architecture = read_architecture(config)
        if architecture is None:
            return None
        plans, reserved = plans_with_reserve(
            partial(candidate_plans, source.settings, config, architecture, device),
            reserved_sizes(source.settings, device),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UnsupportedModelError(
            f"The config.json of {name} is damaged: {reason_of(error)}."
        ) from error
    if device == "cpu":
        backend.use_decode_threads(architecture.num_parameters)
    for plan in plans:
        try:
            return _load_with_plan(source, architecture, backend, plan, max_windows, reserved)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise cannot_load(name, source.path, error) from error
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise cannot_load(name, source.path, error) from error
    raise too_large(name, device, source.settings.dtype)


def _load_with_plan(
    source: ModelSource,
    architecture: Architecture,
    backend: Backend,
    plan: MemoryPlan,
    max_windows: int,
    reserved: int,
) -> LoadedNetwork:
    reason = f", {plan.reason}" if plan.reason else ""
    activity = f"loading {source.name} ({plan.name}, {source.device}){reason}"
    source.progress(activity, None)
    weights = read_weights(
        _tensors(source.path),
        architecture,
        WeightsTarget(plan.dtype, source.device, plan.bits, plan.window, backend),
        partial(source.progress, activity),
    )
    devices = (weights.device,) * architecture.num_layers
    shape = CacheShape(
        plan.window, architecture.kv_heads, architecture.head_dim, devices, weights.dtype
    )
    arena = allocate_arena(shape, max_windows, reserved)
    forward = LeanForward(weights, backend, arena)
    return LoadedNetwork(forward, weights, architecture.vocab_size, shape, plan, arena, reserved)


def _tensors(path: Path) -> TensorFiles:
    """Return the tensors of a GGUF file, or of a directory with safetensors files."""
    gguf = gguf_in(path)
    return SafetensorsFiles(path) if gguf is None else GgufFile(gguf)


def allocate_arena(shape: CacheShape, max_windows: int, reserved: int) -> Arena | None:
    """Return an arena of up to `max_windows` full context windows, None for a model on a CPU.

    `reserved` bytes stay free for another model.
    """
    if shape.devices[0].type != "cuda":
        return None
    torch.cuda.empty_cache()  # otherwise memory that reading took would not count as free
    return largest_arena(shape, default_limit(shape, max_windows, reserved))
