"""Lists the checkpoints on this machine and selects the one for `auto`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from safetensors import SafetensorError, safe_open

from engine.architecture import Architecture
from engine.errors import ModelNotFoundError, StarcoderError
from engine.loading.gguf_file import GgufFile, gguf_in, is_model_name
from engine.loading.local_stores import stored_models
from engine.loading.model_size import HEADROOM, USUAL_WINDOW, cache_bytes
from engine.loading.on_disk import EMBEDDED_DIR, has_all_shards
from engine.machine import Memory, format_bytes
from engine.model_config import read_architecture, require_architecture
from engine.settings import DEMO_MODEL

CPU_PARAMETER_LIMIT = 400_000_000
"""Largest model that `auto` selects without a GPU, in parameters.

With a larger model, a suggestion would arrive only after the next keystrokes.
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model whose files are all on this machine and that our network computes."""

    name: str
    path: Path
    architecture: Architecture
    bytes_on_disk: int
    has_fim: bool
    """Whether its tokenizer has tokens for fill-in-the-middle."""
    is_demo: bool = False
    stored_as: str = ""
    """Number format of a GGUF file, such as `Q4_K`; empty for safetensors."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.architecture.num_parameters

    @property
    def context_window(self) -> int:
        """Context window that the model was trained with, in tokens."""
        return self.architecture.positions

    def bytes_needed(self, bytes_per_value: int) -> int:
        """Return the bytes of the weights and the KV cache of a usual window, with headroom."""
        window = min(self.context_window, USUAL_WINDOW)
        cache = cache_bytes(self.architecture, window, bytes_per_value)
        return int(HEADROOM * (self.parameters * bytes_per_value + cache))


@dataclass(frozen=True, slots=True)
class Unusable:
    """A model on this machine that `auto` cannot choose."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether `auto` may select a checkpoint, and the reason."""

    checkpoint: Checkpoint
    is_eligible: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The checkpoint that `auto` selects, and all checkpoints that it considered."""

    checkpoint: Checkpoint
    reason: str
    considered: tuple[Eligibility, ...]


def inspect_model(path: Path, name: str, *, is_demo: bool = False) -> Checkpoint | Unusable:
    """Return the model in a directory or a GGUF file, or why it cannot be used."""
    try:
        gguf = gguf_in(path)
        if gguf is not None:
            return _gguf_checkpoint(gguf, name)
        return _checkpoint(path, name, is_demo=is_demo)
    except StarcoderError as error:
        return Unusable(name, error.user_message)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        return Unusable(name, f"it is damaged: {error}")


def _gguf_checkpoint(path: Path, name: str) -> Checkpoint:
    file = GgufFile(path)
    architecture = require_architecture(file.config())
    has_fim = has_fim_tokens(file.tokenizer_json())
    return Checkpoint(name, path, architecture, file.num_bytes, has_fim, stored_as=file.kind)


def _checkpoint(path: Path, name: str, *, is_demo: bool) -> Checkpoint | Unusable:
    if not (path / "config.json").exists():
        return Unusable(name, "it has no config.json")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    architecture = read_architecture(config)
    if architecture is None:
        kind = config.get("model_type", "unknown")
        return Unusable(
            name, f"{kind} is not a fast architecture; to use it with transformers, set it by name"
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights or not has_all_shards(path):
        return Unusable(name, "safetensors files are missing; download the model again")
    for file in weights:
        safe_open(file, framework="np")  # checks that the file is complete
    size = sum(file.stat().st_size for file in weights)
    if not (path / "tokenizer.json").exists():
        return Unusable(name, "it has no tokenizer.json")
    has_fim = has_fim_tokens((path / "tokenizer.json").read_text(encoding="utf-8"))
    return Checkpoint(name, path, architecture, size, has_fim, is_demo)


_FIM_TOKEN = re.compile(r'"[^"\s]*(fim[-_▁](prefix|begin)|fim-prefix|<PRE>|\[PREFIX\])[^"\s]*"')
"""A token before the prefix, in the text of a tokenizer.json; `fim.prompt.families` names them."""


def has_fim_tokens(tokenizer_json: str) -> bool:
    """Return whether a tokenizer.json has tokens for fill-in-the-middle."""
    return _FIM_TOKEN.search(tokenizer_json) is not None


def embedded_checkpoint() -> Checkpoint | None:
    """Return the demo model; None in a source tree that does not contain it yet."""
    demo = inspect_model(EMBEDDED_DIR, DEMO_MODEL, is_demo=True)
    return demo if isinstance(demo, Checkpoint) else None


def hub_cache_models(cache_dir: Path | None = None) -> Iterator[Checkpoint | Unusable]:
    """Yield the newest usable revision of each model in the hub's cache, else its newest one."""
    try:
        cache = scan_cache_dir(cache_dir)
    except (CacheNotFound, OSError):
        return
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model":
            continue
        revisions = sorted(repo.revisions, key=lambda revision: -revision.last_modified)
        models = [inspect_model(Path(each.snapshot_path), repo.repo_id) for each in revisions]
        usable = [model for model in models if isinstance(model, Checkpoint)]
        yield from (usable or models)[:1]


def models_in(folder: Path) -> Iterator[Checkpoint | Unusable]:
    """Yield the models in a folder: the folder itself, its folders, and its GGUF files.

    Raises ModelNotFoundError if there is no such folder.
    """
    if not folder.is_dir():
        raise ModelNotFoundError(f"There is no folder {folder}.")
    if (folder / "config.json").exists():
        yield inspect_model(folder, str(folder))
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() or is_model_name(path):
            yield inspect_model(path, path.name)


def find_models(cache_dir: Path | None = None) -> list[Checkpoint | Unusable]:
    """Return all models on this machine, including the demo model."""
    models = list(hub_cache_models(cache_dir))
    for stored in stored_models():
        models.append(inspect_model(stored.path, stored.setting))
    if demo := embedded_checkpoint():
        models.append(demo)
    return models


def usable(models: Sequence[Checkpoint | Unusable]) -> list[Checkpoint]:
    """Return the models that can be used, largest first."""
    checkpoints = [model for model in models if isinstance(model, Checkpoint)]
    return sorted(checkpoints, key=lambda checkpoint: -checkpoint.parameters)


def check_eligibility(
    checkpoint: Checkpoint, memory: Memory, *, is_loaded: bool = False
) -> Eligibility:
    """Return whether `auto` may select a checkpoint on a machine with this free memory.

    A model that `is_loaded` in an engine already needs no more.
    """
    if checkpoint.is_demo:
        return Eligibility(checkpoint, True, "always fits; only used without a real model")
    if not checkpoint.has_fim:
        reason = "completes left to right only; to use it anyway, set it by name"
        return Eligibility(checkpoint, False, reason)
    is_slow = not memory.gpus and checkpoint.parameters > CPU_PARAMETER_LIMIT
    if is_loaded and not is_slow:
        return Eligibility(checkpoint, True, "is in memory already")
    if memory.gpus:
        needed, free = checkpoint.bytes_needed(2), memory.largest_gpu
        if needed <= free:
            return Eligibility(checkpoint, True, f"fits a GPU: needs {format_bytes(needed)}")
        reason = f"needs {format_bytes(needed)} of GPU memory, {format_bytes(free)} is free"
        return Eligibility(checkpoint, False, reason)
    if is_slow:
        reason = "too slow without a GPU; to use it anyway, set it by name"
        return Eligibility(checkpoint, False, reason)
    needed = checkpoint.bytes_needed(4)
    if needed > memory.cpu:
        reason = f"needs {format_bytes(needed)}, {format_bytes(memory.cpu)} is free"
        return Eligibility(checkpoint, False, reason)
    return Eligibility(checkpoint, True, f"fast enough on a CPU: needs {format_bytes(needed)}")


def select_checkpoint(
    checkpoints: Sequence[Checkpoint],
    memory: Memory,
    is_loaded: Callable[[Path], bool] = lambda _: False,
) -> Selection | None:
    """Return the largest eligible checkpoint; None if none is eligible."""
    considered = tuple(
        check_eligibility(checkpoint, memory, is_loaded=is_loaded(checkpoint.path))
        for checkpoint in checkpoints
    )
    eligible = [each for each in considered if each.is_eligible]
    if not eligible:
        return None
    best = max(eligible, key=lambda e: (not e.checkpoint.is_demo, e.checkpoint.parameters))
    return Selection(best.checkpoint, best.reason, considered)
