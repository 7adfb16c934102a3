"""Loads the models that the settings name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from engine.api import EngineInfo
from engine.errors import ConfigurationError, UnsupportedModelError
from engine.kernels.build import KernelBuild
from engine.kv_cache.pool import MAX_DRAFT_WINDOWS
from engine.loading.adapter_shelf import AdapterShelf
from engine.loading.adapter_store import adapters_dir, fingerprint
from engine.loading.chat_template import read_chat_template
from engine.loading.lean_loader import load_lean
from engine.loading.locate import Progress, locate, read_config
from engine.loading.model_tokenizer import read_tokenizer
from engine.loading.module_loader import load_module_network
from engine.loading.on_disk import EMBEDDED_DIR, shown_name
from engine.loading.sharing import Sharing
from engine.loading.source import ModelSource
from engine.machine import free_memory
from engine.network.backend import Backend
from engine.network.model import LoadedModel
from engine.network.weights import Weights
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that is loaded for the settings of an engine."""

    model: LoadedModel
    adapters: AdapterShelf
    draft_model: LoadedModel | None = None


def load(settings: EngineSettings, progress: Progress, sharing: Sharing | None = None) -> Loaded:
    """Load the model, and the draft model if the settings name one.

    Blocks until both are loaded. Raises ModelError or ConfigurationError, and EngineElsewhereError
    if another process that `sharing` knows has the model.
    """
    backend = Backend(KernelBuild())
    source, tokenizer = _find(settings, progress, sharing)
    # The draft model comes first: the memory plan of the model then knows what is left, and the
    # number of threads suits the model.
    draft_model = _load_draft_model(source, tokenizer, backend)
    model, weights = _load_model(source, tokenizer, backend, settings.kv_caches)
    adapters = AdapterShelf(weights, fingerprint(source.path), adapters_dir())
    return Loaded(model, adapters, draft_model)


def _find(
    settings: EngineSettings, progress: Progress, sharing: Sharing | None = None
) -> tuple[ModelSource, Tokenizer]:
    """Locate a model and read its config and tokenizer."""
    progress("looking for the model", None)
    if sharing is None:
        name, path = locate(settings, progress)
    else:
        name, path = locate(settings, progress, sharing.is_loaded)
        sharing.claim(path)
        name = shown_name(path, name)
    config = read_config(path, name)
    tokenizer = read_tokenizer(path)
    if config["model_type"] == "gpt_bigcode":
        tokenizer.check_digits()
    device = pick_device(settings)
    if device == "cuda":
        gpus = free_memory().gpus
        torch.cuda.set_device(gpus.index(max(gpus)))  # for this thread, which also decodes
    return ModelSource(settings, name, path, config, device, progress), tokenizer


def _load_draft_model(
    large: ModelSource, tokenizer: Tokenizer, backend: Backend
) -> LoadedModel | None:
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
    model, _ = _load_model(source, draft_tokenizer, backend, MAX_DRAFT_WINDOWS)
    if not tokenizer.has_same_tokens(draft_tokenizer):
        raise ConfigurationError(
            f"The draft model {settings.draft_model} has another vocabulary than {large.name}, so "
            "it cannot propose tokens for it. Use a smaller model of the same family, for example "
            "bigcode/tiny_starcoder_py for bigcode/starcoderbase-7b, or leave draftModel empty."
        )
    return model


def _load_model(
    source: ModelSource, tokenizer: Tokenizer, backend: Backend, max_windows: int
) -> tuple[LoadedModel, Weights | None]:
    """Load one model, with KV caches of at most `max_windows` full context windows on a GPU."""
    network = load_lean(source, backend, max_windows) or load_module_network(source, backend)
    info = EngineInfo(
        model=source.name,
        model_type=source.config["model_type"],
        context_window=network.plan.window,
        device=source.device,
        dtype=network.plan.name,
        is_demo=source.path == EMBEDDED_DIR,
        fim_form=str(source.config.get("fim_form", "")),
        chat_template=read_chat_template(source.path),
        uses_passages=True,
    )
    model = LoadedModel(
        forward=network.forward,
        tokenizer=tokenizer,
        info=info,
        vocab_size=network.vocab_size,
        end_ids=_end_ids(source, tokenizer),
        cache_shape=network.cache_shape,
        arena=network.arena,
        reserved=network.reserved,
    )
    return model, network.weights


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


def _end_ids(source: ModelSource, tokenizer: Tokenizer) -> frozenset[int]:
    declared = source.config.get("eos_token_id")
    ids = declared if isinstance(declared, list) else [declared]
    if not all(id_ is None or isinstance(id_, int) for id_ in ids):
        raise UnsupportedModelError(
            f"The config.json of {source.name} is damaged: eos_token_id is no token id."
        )
    return frozenset(id_ for id_ in (*ids, tokenizer.end_of_text_id) if id_ is not None)
