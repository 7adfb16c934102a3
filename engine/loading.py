"""From settings to a model in memory, with every way it can fail told in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from engine.adapters import adapters_dir, fingerprint
from engine.api import EngineInfo
from engine.catalog import EMBEDDED_DIR, MODEL_TYPE, choose, embedded, on_disk
from engine.decoding import Decoder
from engine.errors import (
    ConfigurationError,
    ModelNotFoundError,
    OutOfMemoryError,
    UnsupportedModelError,
)
from engine.forward import forward_for
from engine.hub import fetch
from engine.kv_cache import CacheShape
from engine.lora import AdapterShelf
from engine.memory import free_memory, human
from engine.settings import AUTO_MODEL, DEMO_MODEL, EngineSettings
from engine.tokenizer import Tokenizer

Progress = Callable[[str, float | None], None]
"""Called with what is being done and the share that is done, 0 to 1, or None."""

_FLOAT32_PARAMETERS = 1_000_000_000
"""On a CPU, smaller models run in float32: exact, and as fast where bfloat16 is emulated."""


_ONE_THREAD_PARAMETERS = 30_000_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can decode."""

    decoder: Decoder
    info: EngineInfo
    cache_shape: CacheShape
    adapters: AdapterShelf


def load(settings: EngineSettings, progress: Progress) -> Loaded:
    """Load what the settings name. Blocks for as long as that takes.

    Raises ModelError or ConfigurationError.
    """
    progress("looking for the model", None)
    name, path = locate(settings, progress)
    config = read_config(path, name)
    tokenizer = Tokenizer.from_file(path)
    if config["model_type"] == MODEL_TYPE:
        tokenizer.check_digits()
    device = pick_device(settings)
    dtype = pick_dtype(settings, device, path)
    progress(f"loading {name} ({dtype_name(dtype)}, {device})", None)
    model = load_model(path, name, device, dtype)
    window = _context_window(settings, int(model.config.max_position_embeddings))
    decoder = Decoder(
        forward=forward_for(model),
        tokenizer=tokenizer,
        context_window=window,
        vocab_size=model.get_input_embeddings().num_embeddings,
        end_ids=_end_ids(model.config, tokenizer),
    )
    info = EngineInfo(
        model=name,
        model_type=config["model_type"],
        context_window=window,
        device=device,
        dtype=dtype_name(dtype),
        is_demo=path == EMBEDDED_DIR,
        fim_form=str(config.get("fim_form", "")),
        chat_template=read_chat_template(path),
    )
    shelf = AdapterShelf(model, fingerprint(path), adapters_dir())
    return Loaded(decoder, info, _cache_shape(model, window, dtype), shelf)


def locate(settings: EngineSettings, progress: Progress) -> tuple[str, Path]:
    """Return the name to show and the directory of the model that the settings mean."""
    if settings.model == DEMO_MODEL:
        if embedded() is None:
            raise ModelNotFoundError(
                f"The embedded demo model is missing from {EMBEDDED_DIR}. Install starcoder-lsp "
                "again, or make the model with `python -m training all`."
            )
        return DEMO_MODEL, EMBEDDED_DIR
    if settings.model == AUTO_MODEL:
        choice = choose(on_disk(), free_memory())
        if choice is None:
            raise ModelNotFoundError(
                "There is no StarCoder model on this machine that fits its memory. Name one, such "
                "as `bigcode/tiny_starcoder_py`, in the setting `starcoder.model`."
            )
        return choice.checkpoint.name, choice.checkpoint.path
    directory = Path(settings.model).expanduser()
    if directory.is_dir():
        return settings.model, directory.resolve()
    if directory.is_absolute() or settings.model.startswith((".", "~")):
        raise ModelNotFoundError(f"There is no directory {settings.model}.")
    return settings.model, fetch(settings.model, settings.revision, settings.offline, progress)


def read_config(path: Path, name: str) -> dict[str, Any]:
    """Return `config.json`; raises ModelError for what is no checkpoint that we can run."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFoundError(f"{name} holds no model: there is no config.json.") from None
    except ValueError as error:
        raise UnsupportedModelError(f"The config.json of {name} is damaged: {error}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise UnsupportedModelError(f"The config.json of {name} does not say what model it is.")
    if not list(path.glob("*.safetensors")):
        raise UnsupportedModelError(
            f"{name} has no safetensors weights. Pickled weights (.bin, .pt) can run code when "
            "they are opened, so they are not loaded: convert them, or take a model that has "
            "safetensors."
        )
    return config


def read_chat_template(path: Path) -> str:
    """Return the template for dialogues that a model brings, empty if it brings none.

    It stands in `chat_template.jinja`, or in `tokenizer_config.json` as transformers used to write
    it; of several the one named `default` is taken.
    """
    file = path / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    try:
        config = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(found, list):
        found = {one.get("name"): one.get("template") for one in found}.get("default")
    return found if isinstance(found, str) else ""


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


def pick_dtype(settings: EngineSettings, device: str, path: Path) -> torch.dtype:
    """Return the number format: the set one, or what the device is best at."""
    if settings.dtype != "auto":
        return {
            "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
        }[settings.dtype]  # fmt: skip
    if device in ("cuda", "balanced") and torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "mps":
        return torch.float16
    # Safetensors hold two bytes a weight in every published StarCoder.
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return torch.float32 if size < 2 * _FLOAT32_PARAMETERS else torch.bfloat16


def dtype_name(dtype: torch.dtype) -> str:
    """Return `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def load_model(path: Path, name: str, device: str, dtype: torch.dtype) -> Any:
    """Return the model, ready for inference; raises ModelError."""
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            device_map={"cuda": "cuda:0"}.get(device, device) if device != "cpu" else None,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"{name} does not fit the memory of {device} in {dtype_name(dtype)} "
            f"({human(free_memory().largest_gpu or free_memory().cpu)} free). Choose a smaller "
            "model, or set device to 'balanced' to spread it over GPUs and CPU."
        ) from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise UnsupportedModelError(
            f"{name} cannot be loaded: {error}. If files are missing or cut off, delete "
            f"{path} and get the model again."
        ) from error
    model.eval().requires_grad_(False)
    if device == "cpu":
        _own_memory(model)
        torch.set_num_threads(threads_for(sum(p.numel() for p in model.parameters())))
    return model


def threads_for(parameters: int) -> int:
    """Return how many CPU threads to compute with.

    A small model's products are too short to share out: threads that wait for each other cost more
    than they help, and very much more when other programs want the processor too.
    """
    cores = psutil.cpu_count(logical=False) or 1
    return 1 if parameters < _ONE_THREAD_PARAMETERS else cores


def _own_memory(model: Any) -> None:
    # Weights used where safetensors mapped them decode 1.45 times slower at 1B than after one
    # copy into fresh memory, which the system backs with huge pages.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _context_window(settings: EngineSettings, positions: int) -> int:
    if settings.context_window is None:
        return positions
    if settings.context_window > positions:
        raise ConfigurationError(
            f"The setting contextWindow is {settings.context_window}, but the model has only "
            f"{positions} positions."
        )
    return settings.context_window


def _end_ids(config: Any, tokenizer: Tokenizer) -> frozenset[int]:
    declared = config.eos_token_id
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
