"""Loads the model that the settings name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from engine.api import EngineInfo
from engine.errors import ConfigurationError, OutOfMemoryError, UnsupportedModelError
from engine.kernels.build import KernelBuild
from engine.kv_cache.arena import Arena, largest_arena
from engine.kv_cache.cache import CacheShape
from engine.kv_cache.pool import MAX_WINDOWS, default_limit
from engine.loading.adapter_shelf import AdapterShelf
from engine.loading.adapter_store import adapters_dir, fingerprint
from engine.loading.catalog import EMBEDDED_DIR, MODEL_TYPE
from engine.loading.locate import Progress, locate, read_chat_template, read_config
from engine.loading.memory_plan import (
    MemoryPlan,
    candidate_plans,
    check_not_quantised,
    compute_dtype,
    dtype_name,
    window_of,
)
from engine.loading.model_size import parameter_count
from engine.loading.safetensors_reader import read_weights
from engine.machine import format_bytes, free_memory, is_out_of_memory
from engine.network.backend import Backend
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.network.weights import Weights, weights_of_module
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DRAFT_WINDOWS = 4
"""Maximum number of full context windows in the KV caches of a draft model on a GPU."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that is loaded for the settings of an engine."""

    model: LoadedModel
    adapters: AdapterShelf
    draft_model: LoadedModel | None = None


@dataclass(frozen=True, slots=True)
class _Network:
    """The part of a model that is loaded from its weights."""

    forward: Forward
    weights: Weights | None
    """The weights, None for a transformers module."""
    vocab_size: int
    cache_shape: CacheShape
    plan: MemoryPlan
    arena: Arena | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a model is loaded from, and for which device."""

    settings: EngineSettings
    name: str
    """Name of the model for messages."""
    path: Path
    config: dict[str, Any]
    device: str
    """`cpu`, `cuda`, `mps` or `balanced`."""
    progress: Progress


def load(settings: EngineSettings, progress: Progress) -> Loaded:
    """Load the model, and the draft model if the settings name one.

    Blocks until both are loaded. Raises ModelError or ConfigurationError.
    """
    backend = Backend(KernelBuild())
    source, tokenizer = _find(settings, progress)
    # The draft model comes first: the memory plan of the model then knows what is left, and the
    # number of threads suits the model.
    draft_model = _load_draft_model(source, tokenizer, backend)
    model, weights = _load_model(source, tokenizer, backend, MAX_WINDOWS)
    adapters = AdapterShelf(weights, fingerprint(source.path), adapters_dir())
    return Loaded(model, adapters, draft_model)


def _find(settings: EngineSettings, progress: Progress) -> tuple[_Source, Tokenizer]:
    """Locate a model and read its config and tokenizer."""
    progress("looking for the model", None)
    name, path = locate(settings, progress)
    config = read_config(path, name)
    tokenizer = Tokenizer.from_file(path)
    if config["model_type"] == MODEL_TYPE:
        tokenizer.check_digits()
    device = pick_device(settings)
    if device == "cuda":
        gpus = free_memory().gpus
        torch.cuda.set_device(gpus.index(max(gpus)))  # for this thread, which also decodes
    return _Source(settings, name, path, config, device, progress), tokenizer


def _load_draft_model(large: _Source, tokenizer: Tokenizer, backend: Backend) -> LoadedModel | None:
    settings = large.settings
    if settings.draft_model is None:
        return None
    own_settings = replace(
        settings,
        model=settings.draft_model,
        revision=None,
        draft_model=None,
        dtype="auto",
        context_window=None,
    )
    source, draft_tokenizer = _find(own_settings, large.progress)
    model, _ = _load_model(source, draft_tokenizer, backend, _DRAFT_WINDOWS)
    if not tokenizer.has_same_tokens(draft_tokenizer):
        raise ConfigurationError(
            f"The draft model {settings.draft_model} has another vocabulary than {large.name}, so "
            "it cannot propose tokens for it. Use a smaller model of the same family, for example "
            "bigcode/tiny_starcoder_py for bigcode/starcoderbase-7b, or leave draftModel empty."
        )
    return model


def _load_model(
    source: _Source, tokenizer: Tokenizer, backend: Backend, max_windows: int
) -> tuple[LoadedModel, Weights | None]:
    """Load one model, with KV caches of at most `max_windows` full context windows on a GPU."""
    network = _load_lean(source, backend, max_windows) or _load_module(source, backend)
    info = EngineInfo(
        model=source.name,
        model_type=source.config["model_type"],
        context_window=network.plan.window,
        device=source.device,
        dtype=network.plan.name,
        is_demo=source.path == EMBEDDED_DIR,
        fim_form=str(source.config.get("fim_form", "")),
        chat_template=read_chat_template(source.path),
    )
    model = LoadedModel(
        forward=network.forward,
        tokenizer=tokenizer,
        info=info,
        vocab_size=network.vocab_size,
        end_ids=_end_ids(source.config, tokenizer),
        cache_shape=network.cache_shape,
        arena=network.arena,
    )
    return model, network.weights


def _load_lean(source: _Source, backend: Backend, max_windows: int) -> _Network | None:
    """Load a model for `LeanForward`; return None for a model that it does not support."""
    config, name, device = source.config, source.name, source.device
    is_lean = config["model_type"] == MODEL_TYPE and config.get("multi_query", True)
    if not is_lean or device == "balanced":
        return None
    try:
        parameters = parameter_count(config)
        plans = candidate_plans(source.settings, config, device, parameters)
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModelError(f"The config.json of {name} is damaged: {error}") from error
    if device == "cpu":
        backend.use_decode_threads(parameters)
    for plan in plans:
        try:
            return _load_with_plan(source, backend, plan, max_windows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise _cannot_load(source, error) from error
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise _cannot_load(source, error) from error
    raise _too_large(name, device, source.settings.dtype)


def _load_with_plan(
    source: _Source, backend: Backend, plan: MemoryPlan, max_windows: int
) -> _Network:
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
    arena = allocate_arena(shape, max_windows)
    forward = LeanForward(weights, backend, arena)
    return _Network(forward, weights, weights.tokens.shape[0], shape, plan, arena)


def allocate_arena(shape: CacheShape, max_windows: int) -> Arena | None:
    """Return an arena of up to `max_windows` full context windows, None for a model on a CPU."""
    if shape.devices[0].type != "cuda":
        return None
    torch.cuda.empty_cache()  # otherwise memory that reading took would not count as free
    return largest_arena(shape, default_limit(shape, max_windows))


def _load_module(source: _Source, backend: Backend) -> _Network:
    """Load any other model with transformers' own code."""
    settings, device = source.settings, source.device
    check_not_quantised(settings)
    # Every published StarCoder has two bytes per parameter in its safetensors files.
    parameters = sum(file.stat().st_size for file in source.path.glob("*.safetensors")) // 2
    dtype = compute_dtype(settings, device, parameters)
    source.progress(f"loading {source.name} ({dtype_name(dtype)}, {device})", None)
    module = load_module(source.path, source.name, device, dtype)
    if device == "cpu":
        backend.use_decode_threads(sum(tensor.numel() for tensor in module.parameters()))
    window = window_of(settings, int(module.config.max_position_embeddings))
    is_lean = LeanForward.supports(module)
    return _Network(
        forward_for_module(module, backend),
        weights_of_module(module) if is_lean else None,
        module.get_input_embeddings().num_embeddings,
        _cache_shape(module, window, dtype),
        MemoryPlan(dtype_name(dtype), dtype, None, window, ""),
    )


def forward_for_module(module: PreTrainedModel, backend: Backend | None = None) -> Forward:
    """Return the fastest forward pass that a transformers module allows."""
    if LeanForward.supports(module):
        return LeanForward(weights_of_module(module), backend)
    # Imported here: importing transformers' modelling code takes seconds.
    from engine.network.transformers_forward import TransformersForward

    return TransformersForward(module)


def pick_device(settings: EngineSettings) -> str:
    """Return `cpu`, `cuda`, `mps` or `balanced`.

    Raises ConfigurationError for a device that this machine does not have.
    """
    device = settings.device
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if has_cuda else "mps" if has_mps else "cpu"
    if (device == "cuda" and not has_cuda) or (device == "mps" and not has_mps):
        raise ConfigurationError(
            f"The setting device is {device!r}, but torch finds no such device on this machine. "
            "Use 'auto' or 'cpu', or install a torch build for your GPU."
        )
    return device


def load_module(path: Path, name: str, device: str, dtype: torch.dtype) -> PreTrainedModel:
    """Return a transformers module that is ready for inference. Raises ModelError."""
    from transformers import AutoConfig, AutoModelForCausalLM  # takes seconds

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        module: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            device_map=None if device == "cpu" else _device_map(device),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(name, device, dtype_name(dtype)) from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise _damaged(name, path, error) from error
    module.eval().requires_grad_(False)
    return module


def _device_map(device: str) -> str:
    return f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device


def _too_large(name: str, device: str, dtype: str) -> OutOfMemoryError:
    free = free_memory()
    return OutOfMemoryError(
        f"{name} does not fit into the memory of {device} in {dtype} "
        f"({format_bytes(free.largest_gpu or free.cpu)} free). Choose a smaller model, set dtype "
        "to 'int8' or 'int4', or set device to 'balanced' to spread it over GPUs and CPU."
    )


def _cannot_load(source: _Source, error: Exception) -> UnsupportedModelError:
    return _damaged(source.name, source.path, error)


def _damaged(name: str, path: Path, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} cannot be loaded: {error}. If files are missing or incomplete, delete {path} and "
        "download the model again."
    )


def _end_ids(config: dict[str, Any], tokenizer: Tokenizer) -> frozenset[int]:
    declared = config.get("eos_token_id")
    ids = declared if isinstance(declared, list) else [declared]
    return frozenset(id_ for id_ in (*ids, tokenizer.end_of_text_id) if id_ is not None)


def _cache_shape(module: PreTrainedModel, window: int, dtype: torch.dtype) -> CacheShape:
    config = module.config
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    if config.model_type == MODEL_TYPE:
        kv_heads = 1 if config.multi_query else heads
    head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return CacheShape(window, kv_heads, head_dim, _layer_devices(module), dtype)


def _layer_devices(module: Any) -> tuple[torch.device, ...]:
    """Return the device on which each layer computes.

    accelerate moves offloaded weights to the execution device of their hook.
    """
    layers = module.transformer.h if hasattr(module, "transformer") else module.model.layers
    devices = []
    for layer in layers:
        hook = getattr(layer, "_hf_hook", None)
        device = getattr(hook, "execution_device", None)
        devices.append(torch.device(next(layer.parameters()).device if device is None else device))
    return tuple(torch.device("cpu") if d.type == "meta" else d for d in devices)
