"""Loads any other model with transformers' own code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from engine.errors import ConfigurationError
from engine.kv_cache.cache import CacheShape
from engine.loading.memory_plan import (
    MemoryPlan,
    check_not_quantised,
    compute_dtype,
    dtype_name,
    window_of,
)
from engine.loading.reserve import reserved_sizes
from engine.loading.source import LoadedNetwork, ModelSource, cannot_load, too_large
from engine.model_config import read_architecture
from engine.network.backend import Backend
from engine.network.build_weights import build_weights
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_module_network(source: ModelSource, backend: Backend) -> LoadedNetwork:
    """Load any other model with transformers' own code.

    Raises ConfigurationError for settings that the model does not support, UnsupportedModelError
    for damaged files, and OutOfMemoryError.
    """
    settings, device = source.settings, source.device
    check_not_quantised(settings)
    if source.path.is_file():
        raise ConfigurationError(
            f"{source.name} is a GGUF file, which needs a single device. Set device to 'auto'."
        )
    # Nearly every published model has two bytes per parameter in its safetensors files.
    parameters = sum(file.stat().st_size for file in source.path.glob("*.safetensors")) // 2
    dtype = compute_dtype(settings, device, parameters)
    source.progress(f"loading {source.name} ({dtype_name(dtype)}, {device})", None)
    module = load_module(source.path, source.name, device, dtype)
    if device == "cpu":
        backend.use_decode_threads(sum(tensor.numel() for tensor in module.parameters()))
    window = window_of(settings, int(module.config.max_position_embeddings))
    forward = forward_for_module(module, backend)
    return LoadedNetwork(
        forward,
        forward.weights if isinstance(forward, LeanForward) else None,
        module.get_input_embeddings().num_embeddings,
        _cache_shape(module, window, dtype),
        MemoryPlan(dtype_name(dtype), dtype, None, window, ""),
        reserved=max(reserved_sizes(settings, device), default=0),
    )


def forward_for_module(module: PreTrainedModel, backend: Backend | None = None) -> Forward:
    """Return the fastest forward pass that a transformers module allows."""
    if LeanForward.supports(module):
        architecture = read_architecture(module.config.to_dict())
        assert architecture is not None
        weights = build_weights(architecture, lambda name: module.get_parameter(name).detach())
        return LeanForward(weights, backend)
    # Imported here: importing transformers' modelling code takes seconds.
    from engine.network.transformers_forward import TransformersForward

    return TransformersForward(module)


def load_module(path: Path, name: str, device: str, dtype: torch.dtype) -> PreTrainedModel:
    """Return a transformers module that is ready for inference. Raises ModelError."""
    from transformers import AutoConfig, AutoModelForCausalLM  # takes seconds

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        module: PreTrainedModel
        module, report = AutoModelForCausalLM.from_pretrained(
            path,
            output_loading_info=True,
            config=config,
            dtype=dtype,
            device_map=None if device == "cpu" else _device_map(device),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise too_large(name, device, dtype_name(dtype)) from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise cannot_load(name, path, error) from error
    if missing := sorted(report["missing_keys"]):
        # transformers would give it random values.
        raise cannot_load(name, path, KeyError(f"the checkpoint has no tensor {missing[0]}"))
    module.eval().requires_grad_(False)
    return module


def _device_map(device: str) -> str:
    return f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device


def _cache_shape(module: PreTrainedModel, window: int, dtype: torch.dtype) -> CacheShape:
    config = module.config
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    if config.model_type == "gpt_bigcode":
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
