"""LoRA adapters on disk: where they are, what they were made for. Imports no torch.

An adapter is a folder in peft's format (`adapter_config.json`, `adapter_model.safetensors`), which
other servers read too, and `starcoder.json` beside it, which tells the model it was made for and
how it was measured. One that is put there is served under the folder's name from then on.
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

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
NOTE_FILE = "starcoder.json"
TOKENIZER_FILE = "tokenizer.json"
"""The tokenizer with the tokens that an adapter adds, where it adds any."""

_VARIABLE = "STARCODER_LSP_ADAPTERS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASHED_BYTES = 1 << 20


def adapters_dir() -> Path:
    """Return the folder that holds adapters; `STARCODER_LSP_ADAPTERS` names another."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("starcoder-lsp") / "adapters"


@dataclass(frozen=True, slots=True)
class AdapterNote:
    """What `starcoder.json` says of an adapter."""

    base: str
    """Name of the model it was trained on, as the user gave it."""
    fingerprint: str
    """Of that model's weights; see `fingerprint`."""
    report: dict[str, Any] = field(default_factory=dict)
    """How it was measured, before and after."""


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """An adapter on disk."""

    name: str
    path: Path
    note: AdapterNote

    @property
    def changed(self) -> float:
        """When its weights were written, in seconds since 1970."""
        return (self.path / WEIGHTS_FILE).stat().st_mtime


def check_name(name: str) -> str:
    """Return a name that can be a folder's and a model's; raises ConfigurationError."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name an adapter: use up to 64 letters, digits, dots and dashes."
        )
    return name


def fingerprint(model: Path) -> str:
    """Return 16 hex digits that differ where a checkpoint's weights do.

    Files' names and sizes and the first MiB of each are read, so that it costs nothing at 31 GB.
    """
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        with file.open("rb") as content:
            digest.update(content.read(_HASHED_BYTES))
    return digest.hexdigest()[:16]


def adapters(folder: Path | None = None) -> Iterator[AdapterFolder]:
    """Yield the adapters on disk by name; what is no adapter is passed over."""
    folder = folder or adapters_dir()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if (found := read_adapter(path)) is not None:
                yield found


def read_adapter(path: Path) -> AdapterFolder | None:
    """Return the adapter in a folder, None where none is or a file is missing."""
    try:
        note = AdapterNote(**json.loads((path / NOTE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    whole = (path / CONFIG_FILE).exists() and (path / WEIGHTS_FILE).exists()
    return AdapterFolder(path.name, path, note) if whole else None


def install(made: Path, name: str, note: AdapterNote, folder: Path | None = None) -> Path:
    """Move a finished adapter to where engines find it, in place of one of that name; return it.

    It appears in one move, so that no engine sees half of it.
    """
    folder = folder or adapters_dir()
    folder.mkdir(parents=True, exist_ok=True)
    target, staged = folder / check_name(name), folder / f".{name}.new"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(made, staged)
    (staged / NOTE_FILE).write_text(json.dumps(asdict(note), indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)
    return target
