"""Where a model's files are, and what they say of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import ModelNotFoundError, UnsupportedModelError
from engine.loading.catalog import (
    EMBEDDED_DIR,
    embedded_checkpoint,
    find_checkpoints,
    select_checkpoint,
)
from engine.loading.hub import fetch
from engine.loading.model_size import free_memory
from engine.settings import AUTO_MODEL, DEMO_MODEL, EngineSettings

Progress = Callable[[str, float | None], None]
"""Called with what is being done and the share that is done, 0 to 1, or None."""


def locate(settings: EngineSettings, progress: Progress) -> tuple[str, Path]:
    """Return the name to show and the directory of the model that the settings mean."""
    if settings.model == DEMO_MODEL:
        if embedded_checkpoint() is None:
            raise ModelNotFoundError(
                f"The embedded demo model is missing from {EMBEDDED_DIR}. Install starcoder-lsp "
                "again, or make the model with `python -m training all`."
            )
        return DEMO_MODEL, EMBEDDED_DIR
    if settings.model == AUTO_MODEL:
        selection = select_checkpoint(find_checkpoints(), free_memory())
        if selection is None:
            raise ModelNotFoundError(
                "There is no StarCoder model on this machine that fits its memory. Name one, such "
                "as `bigcode/tiny_starcoder_py`, in the setting `starcoder.model`."
            )
        return selection.checkpoint.name, selection.checkpoint.path
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
