"""Which files on this machine a model's name means. Light: no torch, no client of the hub.

The language server asks this before it looks for an engine, so it must take milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from huggingface_hub import constants

from engine.errors import ModelNotFoundError, StarcoderError
from engine.loading.gguf_file import gguf_in, gguf_parts
from engine.loading.local_stores import STORES, stored_model
from engine.settings import AUTO_MODEL, DEMO_MODEL

EMBEDDED_DIR = Path(__file__).resolve().parents[1] / "embedded"
"""Directory of the demo model, which ships with the package."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MAX_HUB_ID = 96
"""Maximum characters of a hub id (huggingface_hub.utils.validate_repo_id)."""
_FILES = ("*.safetensors", "*.json", "*.jinja")
"""The files of a directory that change what a model computes."""


def path_on_disk(model: str, revision: str | None) -> Path | None:
    """Return the directory or GGUF file that a value of the setting `model` means.

    None stands for `auto`, whose choice depends on the free memory, and for a model that is not on
    this machine or incomplete.
    """
    if model == AUTO_MODEL:
        return None
    if model == DEMO_MODEL:
        return EMBEDDED_DIR if EMBEDDED_DIR.is_dir() else None
    try:
        if model.startswith(STORES):
            stored = stored_model(model)
            return None if stored is None else stored.path
        path = Path(model).expanduser()
        if path.is_dir():
            return gguf_in(path.resolve()) or path.resolve()
        return path.resolve() if path.is_file() else cached_snapshot(model, revision)
    except (StarcoderError, OSError, RuntimeError, ValueError):
        return None  # whoever loads the model reports what is wrong


def is_hub_id(model: str) -> bool:
    """Return whether the hub can have a model of this name."""
    return len(model) <= _MAX_HUB_ID and _HUB_ID.fullmatch(model) is not None


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """Return the directory of a hub model in the hub's cache; None if a file of it is missing.

    The cache has `models--OWNER--NAME/snapshots/COMMIT`, and in `refs/NAME` the commit of a branch
    or tag (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
    """
    if not is_hub_id(repo):
        return None
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    commit = revision or constants.DEFAULT_REVISION
    try:
        if _COMMIT.fullmatch(commit) is None:
            commit = (folder / "refs" / commit).read_text(encoding="utf-8").strip()
        if _COMMIT.fullmatch(commit) is None:
            return None
        snapshot = folder / "snapshots" / commit
        # Another program may have downloaded some files only.
        is_complete = (
            (snapshot / "config.json").exists()
            and any(snapshot.glob("*.safetensors"))
            and has_all_shards(snapshot)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return snapshot if is_complete else None


def has_all_shards(path: Path) -> bool:
    """Return whether every file that a sharded checkpoint's index names exists."""
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return True
    names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((path / name).exists() for name in names)


def identity_on_disk(path: Path) -> str:
    """Return a text that is equal for two paths of the same model, and changes with its files.

    It depends on which files these are, not on their names: links of any kind, and the folders of
    a hub's snapshot, lead to the same files. Raises OSError or ModelError if there are none.
    """
    if (gguf := gguf_in(path)) is not None:
        files = gguf_parts(gguf)
    else:
        files = sorted(file for pattern in _FILES for file in path.glob(pattern))
    if not files:
        raise ModelNotFoundError(f"{path} contains no model.")
    states = [file.stat() for file in files]
    facts = [(each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for each in states]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def shown_name(path: Path, name: str) -> str:
    """Return the name under which all clients of a shared engine see the model at `path`.

    It does not depend on how the client that started the engine wrote the model's `name`.
    """
    if path == EMBEDDED_DIR:
        return DEMO_MODEL
    if name.startswith(STORES):
        return name
    repo = path.parents[1].name if len(path.parts) > 2 else ""
    if path.parent.name == "snapshots" and repo.startswith("models--"):
        return repo.removeprefix("models--").replace("--", "/")
    return str(path)
