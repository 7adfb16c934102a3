"""From settings to a model in memory, with every way it can fail told in plain words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError

from engine.api import EngineInfo
from engine.decoding.decoder import Decoder
from engine.decoding.draft_model import DRAFT_WINDOWS, DraftModel
from engine.errors import ConfigurationError, OutOfMemoryError, UnsupportedModelError
from engine.kv_cache.arena import Arena, largest_arena
from engine.kv_cache.cache import CacheShape, KVCache
from engine.kv_cache.pool import MOST_WINDOWS, default_limit
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
from engine.loading.model_size import free_memory, human, parameter_count
from engine.loading.safetensors_reader import read_weights
from engine.network.lean_forward import Forward, LeanForward, forward_for
from engine.network.lora import AdapterShelf
from engine.network.weights import Weights, weights_of
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer

_ONE_THREAD_PARAMETERS = 30_000_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can decode."""

    decoder: Decoder
    info: EngineInfo
    cache_shape: CacheShape
    adapters: AdapterShelf
    arena: Arena | None = None
    """Where its caches lie, on a GPU."""

    def new_cache(self) -> KVCache:
        """Return an empty cache, of the kind that the model is fastest with."""
        return KVCache(self.cache_shape, slot=self.arena.take() if self.arena else None)


def load(settings: EngineSettings, progress: Progress, windows: int = MOST_WINDOWS) -> Loaded:
    """Load what the settings name, with KV caches of so many full windows at most on a GPU.

    Blocks for as long as that takes. Raises ModelError or ConfigurationError.
    """
    progress("looking for the model", None)
    name, path = locate(settings, progress)
    config = read_config(path, name)
    tokenizer = Tokenizer.from_file(path)
    if config["model_type"] == MODEL_TYPE:
        tokenizer.check_digits()
    device = pick_device(settings)
    if device == "cuda":
        gpus = free_memory().gpus
        torch.cuda.set_device(gpus.index(max(gpus)))  # in this thread, which will decode as well
    # First, so that what the model itself may take is known, and threads are as many as it likes.
    small = _draft_model(settings, name, tokenizer, progress)
    held = _lean(settings, path, name, config, device, progress, windows)
    if held is None:
        held = _module(settings, path, name, device, progress)
    decoder = Decoder(
        forward=held.forward,
        tokenizer=tokenizer,
        context_window=held.plan.window,
        vocab_size=held.vocab_size,
        end_ids=_end_ids(config, tokenizer),
        draft_model=small,
    )
    info = EngineInfo(
        model=name,
        model_type=config["model_type"],
        context_window=held.plan.window,
        device=device,
        dtype=held.plan.name,
        is_demo=path == EMBEDDED_DIR,
        fim_form=str(config.get("fim_form", "")),
        chat_template=read_chat_template(path),
    )
    shelf = AdapterShelf(held.weights, fingerprint(path), adapters_dir())
    return Loaded(decoder, info, held.cache_shape, shelf, held.arena)


def _draft_model(
    settings: EngineSettings, name: str, tokenizer: Tokenizer, progress: Progress
) -> DraftModel | None:
    """Return the model that guesses, if the settings name one; raises as `load`."""
    if settings.draft_model is None:
        return None
    own = replace(settings, model=settings.draft_model, revision=None, draft_model=None)
    small = load(replace(own, dtype="auto", context_window=None), progress, DRAFT_WINDOWS)
    if not tokenizer.writes_like(small.decoder.tokenizer):
        raise ConfigurationError(
            f"The draft model {settings.draft_model} has another vocabulary than {name}, so it "
            "cannot guess for it. Take a smaller model of the same family, such as "
            "bigcode/tiny_starcoder_py beside bigcode/starcoderbase-7b, or leave draftModel empty."
        )
    held = small.decoder
    return DraftModel(held.forward, small.cache_shape, held.costs, small.arena)


@dataclass(frozen=True, slots=True)
class _Held:
    """A model in memory."""

    forward: Forward
    weights: Weights | None
    """None for transformers' module."""
    vocab_size: int
    cache_shape: CacheShape
    plan: MemoryPlan
    arena: Arena | None = None


def _lean(
    settings: EngineSettings,
    path: Path,
    name: str,
    config: dict[str, Any],
    device: str,
    progress: Progress,
    windows: int,
) -> _Held | None:
    """Return a model for the lean forward, None for one that it is not made for."""
    wanted = config["model_type"] == MODEL_TYPE and config.get("multi_query", True)
    if not wanted or device == "balanced":
        return None
    try:
        parameters = parameter_count(config)
        ways = candidate_plans(settings, config, device, parameters)
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModelError(f"The config.json of {name} is damaged: {error}") from error
    if device == "cpu":
        torch.set_num_threads(threads_for(parameters))
    for way in ways:
        told = f"loading {name} ({way.name}, {device}){', ' if way.reason else ''}{way.reason}"
        progress(told, None)
        try:
            weights = read_weights(
                path, config, way.dtype, way.bits, device, partial(progress, told)
            )
            shape = _lean_cache_shape(weights, way.window)
            arena = _arena(shape, windows)
            forward = LeanForward(weights, arena)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise _cannot_load(name, path, error) from error
            continue
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise _cannot_load(name, path, error) from error
        return _Held(forward, weights, weights.tokens.shape[0], shape, way, arena)
    raise _too_large(name, device, settings.dtype)


def _arena(shape: CacheShape, windows: int) -> Arena | None:
    if shape.devices[0].type != "cuda":
        return None
    torch.cuda.empty_cache()  # what reading took would be counted as taken
    return largest_arena(shape, default_limit(shape, windows))


def _lean_cache_shape(weights: Weights, window: int) -> CacheShape:
    devices = (weights.device,) * len(weights.layers)
    return CacheShape(window, 1, weights.head_dim, devices, weights.dtype)


def _module(
    settings: EngineSettings, path: Path, name: str, device: str, progress: Progress
) -> _Held:
    """Return any other model, by transformers' own loading."""
    check_not_quantised(settings)
    # Safetensors hold two bytes a weight in every published StarCoder.
    parameters = sum(file.stat().st_size for file in path.glob("*.safetensors")) // 2
    dtype = compute_dtype(settings, device, parameters)
    progress(f"loading {name} ({dtype_name(dtype)}, {device})", None)
    model = load_model(path, name, device, dtype)
    window = window_of(settings, int(model.config.max_position_embeddings))
    lean = LeanForward.fits(model)
    return _Held(
        forward_for(model),
        weights_of(model) if lean else None,
        model.get_input_embeddings().num_embeddings,
        _cache_shape(model, window, dtype),
        MemoryPlan(dtype_name(dtype), dtype, None, window, ""),
    )


def pick_device(settings: EngineSettings) -> str:
    """Return `cpu`, `cuda`, `mps` or `balanced`; raises ConfigurationError if it is absent."""
    wanted = settings.device
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if (wanted == "cuda" and not cuda) or (wanted == "mps" and not mps):
        raise ConfigurationError(
            f"The setting device is {wanted!r}, but torch sees no such device here. Use 'auto' or "
            "'cpu', or install a torch build for your GPU."
        )
    return wanted


def load_model(path: Path, name: str, device: str, dtype: torch.dtype) -> Any:
    """Return the model, ready for inference; raises ModelError."""
    from transformers import AutoConfig, AutoModelForCausalLM  # takes seconds

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            device_map=None if device == "cpu" else _placed(device),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(name, device, dtype_name(dtype)) from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise _cannot_load(name, path, error) from error
    model.eval().requires_grad_(False)
    if device == "cpu":
        torch.set_num_threads(threads_for(sum(p.numel() for p in model.parameters())))
    return model


def _placed(device: str) -> str:
    return f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device


def threads_for(parameters: int) -> int:
    """Return how many CPU threads to compute with.

    A small model's products are too short to share out: threads that wait for each other cost more
    than they help, and very much more when other programs want the processor too.
    """
    cores = psutil.cpu_count(logical=False) or 1
    return 1 if parameters < _ONE_THREAD_PARAMETERS else cores


def _too_large(name: str, device: str, dtype: str) -> OutOfMemoryError:
    free = free_memory()
    return OutOfMemoryError(
        f"{name} does not fit the memory of {device} in {dtype} "
        f"({human(free.largest_gpu or free.cpu)} free). Choose a smaller model, set dtype to "
        "'int8' or 'int4', or set device to 'balanced' to spread it over GPUs and CPU."
    )


def _cannot_load(name: str, path: Path, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} cannot be loaded: {error}. If files are missing or cut off, delete {path} and get "
        "the model again."
    )


def _is_out_of_memory(error: Exception) -> bool:
    # torch's allocator for the CPU raises a RuntimeError like any other.
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or "DefaultCPUAllocator" in str(error)


def _end_ids(config: dict[str, Any], tokenizer: Tokenizer) -> frozenset[int]:
    declared = config.get("eos_token_id")
    ids = declared if isinstance(declared, list) else [declared]
    return frozenset(id_ for id_ in (*ids, tokenizer.end_of_text_id) if id_ is not None)


def _cache_shape(model: Any, window: int, dtype: torch.dtype) -> CacheShape:
    config = model.config
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    if config.model_type == MODEL_TYPE:
        kv_heads = 1 if config.multi_query else heads
    head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return CacheShape(window, kv_heads, head_dim, _layer_devices(model), dtype)


def _layer_devices(model: Any) -> tuple[torch.device, ...]:
    """Where each layer computes; offloaded weights come to the execution device of their hook."""
    layers = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    devices = []
    for layer in layers:
        hook = getattr(layer, "_hf_hook", None)
        device = getattr(hook, "execution_device", None)
        devices.append(torch.device(next(layer.parameters()).device if device is None else device))
    return tuple(torch.device("cpu") if d.type == "meta" else d for d in devices)
