"""LoRA adapters on disk. Imports no torch.

An adapter is a folder in peft's format (`adapter_config.json`, `adapter_model.safetensors`), which
other servers read too. Its `starcoder.json` names the model it was trained for and its measured
quality. Engines serve every adapter in the folder under the name of its own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from engine.errors import ConfigurationError
from engine.loading.gguf_file import gguf_in, gguf_parts

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
NOTE_FILE = "starcoder.json"
TOKENIZER_FILE = "tokenizer.json"
"""Tokenizer that includes the tokens an adapter adds; absent if it adds none."""
TEMPLATE_FILE = "dialogue_template.json"
"""The format of dialogues that a chat adapter was trained with; absent in a code adapter."""

_VARIABLE = "STARCODER_LSP_ADAPTERS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASHED_BYTES = 1 << 20


def adapters_dir() -> Path:
    """Return the folder of the adapters, which `STARCODER_LSP_ADAPTERS` overrides."""
    override = os.environ.get(_VARIABLE)
    return Path(override) if override else platformdirs.user_data_path("starcoder-lsp") / "adapters"


@dataclass(frozen=True, slots=True)
class AdapterNote:
    """The contents of an adapter's `starcoder.json`."""

    base: str
    """Name of the model it was trained on, as the user wrote it."""
    fingerprint: str
    """Fingerprint of that model's weights; see the function `fingerprint`."""
    report: dict[str, Any] = field(default_factory=dict)
    """Measurements before and after the training."""


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """An adapter on disk."""

    name: str
    path: Path
    note: AdapterNote

    @property
    def changed(self) -> float:
        """Modification time of its weights, in seconds since 1970."""
        return (self.path / WEIGHTS_FILE).stat().st_mtime


def check_name(name: str) -> str:
    """Return the name if it is valid for a folder and a model; raises ConfigurationError."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name an adapter: use up to 64 letters, digits, dots and dashes."
        )
    return name


def fingerprint(model: Path) -> str:
    """Return 16 hex digits that identify a checkpoint's weights.

    They depend on the names and sizes of the files and on the first MiB of each, so that even 31 GB
    cost no time. The first MiB of a GGUF file has the tokenizer and no weights, so its last MiB
    counts too; its name does not, since each program gives the file another.
    """
    digest = hashlib.sha256()
    if (gguf := gguf_in(model)) is not None:
        for part in gguf_parts(gguf):
            size = part.stat().st_size
            digest.update(f"gguf {size} ".encode())
            with part.open("rb") as content:
                digest.update(content.read(_HASHED_BYTES))
                content.seek(max(0, size - _HASHED_BYTES))
                digest.update(content.read())
        return digest.hexdigest()[:16]
    for file in sorted(model.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        with file.open("rb") as content:
            digest.update(content.read(_HASHED_BYTES))
    return digest.hexdigest()[:16]


def adapters(folder: Path | None = None) -> Iterator[AdapterFolder]:
    """Yield the adapters on disk, sorted by name; other folders are skipped."""
    folder = folder or adapters_dir()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if (adapter := read_adapter(path)) is not None:
                yield adapter


def read_adapter(path: Path) -> AdapterFolder | None:
    """Return the adapter in a folder; None if a file is missing or damaged."""
    try:
        note = AdapterNote(**json.loads((path / NOTE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    is_complete = (path / CONFIG_FILE).exists() and (path / WEIGHTS_FILE).exists()
    return AdapterFolder(path.name, path, note) if is_complete else None


def find_adapter(name: str) -> AdapterFolder:
    """Return the adapter of this name; raises ConfigurationError."""
    adapter = read_adapter(adapters_dir() / check_name(name))
    if adapter is None:
        raise ConfigurationError(
            f"There is no adapter {name!r} in {adapters_dir()}. `starcoder-lsp tune list` lists "
            "the adapters."
        )
    return adapter


def install(trained: Path, name: str, note: AdapterNote, folder: Path | None = None) -> Path:
    """Copy a trained adapter to the folder of adapters and return its path there.

    An adapter of the same name is replaced. The new one appears with a single rename, so that no
    engine sees an incomplete adapter.
    """
    folder = folder or adapters_dir()
    folder.mkdir(parents=True, exist_ok=True)
    target, staged = folder / check_name(name), folder / f".{name}.new"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(trained, staged)
    (staged / NOTE_FILE).write_text(json.dumps(asdict(note), indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)
    return target
