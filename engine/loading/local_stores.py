"""Lists the GGUF models that other programs keep on this machine. Imports no torch.

- Ollama: `$OLLAMA_MODELS`, or ~/.ollama/models. A manifest `manifests/HOST/OWNER/NAME/TAG` is JSON;
  its layer of the type `application/vnd.ollama.image.model` names the file in `blobs/`.
- LM Studio: ~/.lmstudio/models or ~/.cache/lm-studio/models, as PUBLISHER/REPOSITORY/FILE.gguf.
- llama.cpp: `$LLAMA_CACHE`, or llama.cpp/ in the user's cache folder.

What is damaged or leads out of its store is skipped.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine.loading.gguf_container import is_gguf
from engine.loading.gguf_file import is_model_name

_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_DEFAULT_HOST, _DEFAULT_OWNER = "registry.ollama.ai", "library"
STORES = ("ollama:", "lm-studio:", "llama.cpp:")
"""The starts of the values of the setting `model` that select a model in one of these stores."""
_MAX_MANIFEST = 1 << 20
_MAX_FILES = 10_000
"""Number of directory entries of a store after which the rest is ignored."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A GGUF model in the store of another program."""

    name: str
    """Its name in that program, such as `qwen2.5-coder:1.5b`."""
    path: Path
    """The file, or the first of the files of a model that was split."""
    source: str
    """The program: `Ollama`, `LM Studio` or `llama.cpp`."""

    @property
    def setting(self) -> str:
        """The value of the setting `model` that selects it, such as `ollama:qwen2.5-coder:1.5b`."""
        return f"{self.source.lower().replace(' ', '-')}:{self.name}"


def stored_model(setting: str) -> StoredModel | None:
    """Return the model that a value of the setting `model` selects, None if there is none."""
    return next((model for model in stored_models() if model.setting == setting), None)


def stored_models() -> Iterator[StoredModel]:
    """Yield the models in the stores of all known programs, sorted by name within a store."""
    yield from ollama_models(_ollama_store())
    for store in (Path("~/.lmstudio/models"), Path("~/.cache/lm-studio/models")):
        yield from lm_studio_models(store.expanduser())
    yield from llama_cpp_models(_llama_cpp_store())


def ollama_models(store: Path) -> Iterator[StoredModel]:
    """Yield the models in a store of Ollama. Models without GGUF weights are skipped."""
    manifests = store / "manifests"
    for manifest in _files(store, manifests, depth=4):
        *hosts, owner, name, tag = manifest.relative_to(manifests).parts
        blob = _model_blob(store, manifest)
        if blob is not None:
            shown = [] if hosts == [_DEFAULT_HOST] else hosts
            shown += [] if not shown and owner == _DEFAULT_OWNER else [owner]
            yield StoredModel(f"{'/'.join([*shown, name])}:{tag}", blob, "Ollama")


def lm_studio_models(store: Path) -> Iterator[StoredModel]:
    """Yield the models in a store of LM Studio."""
    for file in _files(store, store, depth=3):
        if is_model_name(file) and is_gguf(file):
            yield StoredModel(str(file.relative_to(store).with_suffix("")), file, "LM Studio")


def llama_cpp_models(store: Path) -> Iterator[StoredModel]:
    """Yield the models in the cache of llama.cpp."""
    for file in _files(store, store, depth=1):
        if is_model_name(file) and is_gguf(file):
            yield StoredModel(file.stem, file, "llama.cpp")


def _model_blob(store: Path, manifest: Path) -> Path | None:
    """Return the weights that a manifest names; None if they are missing or no single GGUF file."""
    try:
        if manifest.stat().st_size > _MAX_MANIFEST:
            return None
        layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        digests = [each["digest"] for each in layers if each["mediaType"] == _MODEL_LAYER]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # Only a hash can name a file, so no name leads out of the folder.
    match = _DIGEST.fullmatch(str(digests[0])) if len(digests) == 1 else None
    blob = store / "blobs" / f"sha256-{match[1]}" if match else None
    return blob if blob and _is_within(blob, store) and is_gguf(blob) else None


def _files(store: Path, folder: Path, depth: int) -> list[Path]:
    """Return the files exactly `depth` levels below a folder, sorted; links out are skipped."""
    level = [folder]
    for _ in range(depth):
        level = [child for each in level for child in _children(each)][:_MAX_FILES]
    return [path for path in sorted(level) if path.is_file() and _is_within(path, store)]


def _children(folder: Path) -> list[Path]:
    try:
        entries = islice(folder.iterdir(), _MAX_FILES)
        return [each for each in entries if not each.name.startswith(".")]
    except OSError:
        return []


def _is_within(path: Path, store: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(store.resolve(strict=True))
    except (OSError, RuntimeError):  # RuntimeError: a link to itself
        return False


def _ollama_store() -> Path:
    override = os.environ.get("OLLAMA_MODELS")
    return Path(override) if override else Path("~/.ollama/models").expanduser()


def _llama_cpp_store() -> Path:
    """Return the cache of llama.cpp (`fs_get_cache_directory` in its common/common.cpp)."""
    if override := os.environ.get("LLAMA_CACHE"):
        return Path(override)
    if sys.platform == "darwin":
        return Path("~/Library/Caches/llama.cpp").expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path("~/.cache").expanduser()) / "llama.cpp"
