"""The input and the result of loading a network, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import OutOfMemoryError, UnsupportedModelError, reason_of
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import CacheShape
from engine.loading.locate import Progress
from engine.loading.memory_plan import MemoryPlan
from engine.machine import format_bytes, free_memory
from engine.network.forward import Forward
from engine.network.weights import Weights
from engine.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The input of loading a model: its settings, directory, configuration and device."""

    settings: EngineSettings
    name: str
    """Name of the model for messages."""
    path: Path
    config: dict[str, Any]
    device: str
    """Device of the model: `cpu`, `cuda`, `mps` or `balanced`."""
    progress: Progress


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """The part of a model that is loaded from its weights."""

    forward: Forward
    weights: Weights | None
    """The weights of a lean forward pass, None for one of transformers."""
    vocab_size: int
    cache_shape: CacheShape
    plan: MemoryPlan
    arena: Arena | None = None
    reserved: int = 0
    """Number of bytes that the KV caches leave free for the model of another engine."""


def too_large(name: str, device: str, dtype: str) -> OutOfMemoryError:
    """Return the error for a model that does not fit into memory."""
    free = free_memory()
    return OutOfMemoryError(
        f"{name} does not fit into the memory of {device} in {dtype} "
        f"({format_bytes(free.largest_gpu or free.cpu)} free). Choose a smaller model, set dtype "
        "to 'int8' or 'int4', or set device to 'balanced' to spread it over GPUs and CPU."
    )


def cannot_load(name: str, path: Path, error: Exception) -> UnsupportedModelError:
    """Return the error for a model whose files are damaged, or that transformers does not know."""
    if "does not recognize this architecture" in str(error):
        return UnsupportedModelError(
            f"{name} has an architecture that neither starcoder-lsp nor the installed version of "
            "transformers computes. Choose another model, such as those in docs/models.md."
        )
    return UnsupportedModelError(
        f"{name} cannot be loaded: {reason_of(error)}. If files are missing or incomplete, delete "
        f"{path} and download the model again."
    )
