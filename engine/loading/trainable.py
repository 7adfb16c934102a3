"""Finds a model that is to be trained, and says why it cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.architecture import Architecture
from engine.errors import ConfigurationError, UnsupportedModelError, reason_of
from engine.loading.chat_template import read_chat_template
from engine.loading.gguf_file import gguf_in
from engine.loading.locate import Progress, locate, read_config
from engine.loading.model_tokenizer import read_tokenizer
from engine.model_config import require_architecture
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TrainableModel:
    """A checkpoint that can be trained: a directory with safetensors weights."""

    name: str
    """Name of the model, as the user wrote it."""
    path: Path
    config: Mapping[str, Any]
    """The contents of its config.json."""
    architecture: Architecture

    def tokenizer(self) -> Tokenizer:
        """Return the model's tokenizer. Raises ModelError."""
        return read_tokenizer(self.path)

    @property
    def chat_template(self) -> str:
        """The model's own chat template, empty if it has none."""
        return read_chat_template(self.path)


def locate_trainable(settings: EngineSettings, progress: Progress) -> TrainableModel:
    """Return the model that the settings select; see `locate`.

    Raises ModelError, and ConfigurationError for a model whose weights have been rounded.
    """
    name, path = locate(settings, progress)
    return read_trainable(name, path)


def read_trainable(
    name: str, path: Path, work: Literal["tuned", "merged"] = "tuned"
) -> TrainableModel:
    """Return the model in `path`; `name` and `work` are what messages say about it.

    Raises as `locate_trainable`.
    """
    if gguf_in(path) is not None:
        raise ConfigurationError(
            f"{name} is a GGUF file, and only models with safetensors weights can be {work}. Set "
            "the hub id or the directory of the original model."
        )
    config = read_config(path, name)
    if config.get("quantization_config"):
        raise ConfigurationError(
            f"{name} has quantised weights, which cannot be {work}. Set the hub id or the "
            "directory of the original model."
        )
    try:
        architecture = require_architecture(config)
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"{name} cannot be {work}: {reason_of(error)}. An adapter of it could not be served. "
            "Choose a model of a family in docs/models.md."
        ) from None
    return TrainableModel(name, path, config, architecture)
