"""Finds a model's directory or file and reads its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import ModelNotFoundError, UnsupportedModelError, reason_of
from engine.loading.catalog import embedded_checkpoint, find_models, select_checkpoint, usable
from engine.loading.gguf_file import GgufFile, gguf_in
from engine.loading.hub import fetch, may_download
from engine.loading.local_stores import STORES, stored_model
from engine.loading.on_disk import EMBEDDED_DIR, is_hub_id
from engine.machine import free_memory
from engine.settings import AUTO_MODEL, DEMO_MODEL, EngineSettings

Progress = Callable[[str, float | None], None]
"""Function that receives the current work as text, and its completed share from 0 to 1, or None."""


def locate(
    settings: EngineSettings,
    progress: Progress,
    is_loaded: Callable[[Path], bool] = lambda _: False,
) -> tuple[str, Path]:
    """Return the display name and the path of the model that the settings select.

    The path is a directory in the form of the hub, or a GGUF file. Downloads the model if it is
    missing. `is_loaded` says whether another engine has a model in memory that this one could use;
    for `auto` it then needs no free memory. Raises ModelError.
    """
    if settings.model == DEMO_MODEL:
        if embedded_checkpoint() is None:
            raise ModelNotFoundError(
                f"The embedded demo model is missing from {EMBEDDED_DIR}. Install starcoder-lsp "
                "again, or make the model with `python -m training all`."
            )
        return DEMO_MODEL, EMBEDDED_DIR
    if settings.model == AUTO_MODEL:
        selection = select_checkpoint(usable(find_models()), free_memory(), is_loaded)
        if selection is None:
            raise ModelNotFoundError(
                "There is no model on this machine that fits its memory. Set the setting "
                "`starcoder.model` to one, such as `bigcode/tiny_starcoder_py`."
            )
        return selection.checkpoint.name, selection.checkpoint.path
    if settings.model.startswith(STORES):
        return settings.model, _stored(settings.model)
    name = settings.model.strip()
    if not name:
        raise ModelNotFoundError("The name of the model is empty. Set `auto`, or a name or path.")
    path = Path(settings.model)
    try:
        path = path.expanduser()
        is_directory, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError):  # the name is too long, or the user has no home
        is_directory = is_file = False
    if is_directory:
        return settings.model, gguf_in(path.resolve()) or path.resolve()
    if is_file:
        return settings.model, path.resolve()
    if name != settings.model or name.lower() in (DEMO_MODEL, AUTO_MODEL):
        meant = name.lower() if name.lower() in (DEMO_MODEL, AUTO_MODEL) else name
        raise ModelNotFoundError(f"There is no model {settings.model!r}. Do you mean {meant}?")
    if _is_path(settings.model):
        raise ModelNotFoundError(
            f"There is no directory and no file {settings.model}. Set the path of a model, or the "
            "name of one; `starcoder-lsp models` lists those on this machine."
        )
    return settings.model, fetch(settings.model, settings.revision, settings.offline, progress)


def may_arrive(settings: EngineSettings) -> bool:
    """Return whether `locate` tries to download the model, because it is not on this machine.

    Only a hub id can be downloaded. Nobody knows whether the hub has the model and gives access.
    """
    model = settings.model
    is_local = model in (DEMO_MODEL, AUTO_MODEL) or _is_path(model) or Path(model).exists()
    return not is_local and may_download(model, settings.offline)


def _is_path(model: str) -> bool:
    """Return whether a setting can only be the path of a directory or file, not a hub id."""
    path = Path(model)
    return (
        path.is_absolute()
        or model.startswith((".", "~"))
        or path.suffix == ".gguf"
        or not is_hub_id(model)
    )


def _stored(setting: str) -> Path:
    """Return the GGUF file of a model in the store of another program."""
    model = stored_model(setting)
    if model is None:
        raise ModelNotFoundError(
            f"There is no model {setting} on this machine. `starcoder-lsp models` lists all models."
        )
    return model.path


def read_config(path: Path, name: str) -> dict[str, Any]:
    """Return `config.json`, or the same facts about a GGUF file.

    Raises ModelError if the path has no supported checkpoint.
    """
    if (file := gguf_in(path)) is not None:
        return GgufFile(file).config()
    if path.is_file():
        raise UnsupportedModelError(
            f"{name} is not a GGUF file. Set the path of a GGUF file, or of a directory with "
            "config.json and safetensors weights."
        )
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFoundError(f"{name} contains no model: there is no config.json.") from None
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(
            f"The config.json of {name} is damaged: {reason_of(error)}."
        ) from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise UnsupportedModelError(f"The config.json of {name} does not say what model it is.")
    if not list(path.glob("*.safetensors")):
        raise UnsupportedModelError(
            f"{name} has no safetensors weights. Pickled weights (.bin, .pt) can run code when "
            "they are opened, so they are not loaded. Convert them, or choose a model with "
            "safetensors."
        )
    return config
