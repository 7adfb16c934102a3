"""What the folder of a model says besides its tokenizer and weights. Imports no torch.

A server that is not ours does not report these facts, so its client reads them on this machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UnsupportedModelError, reason_of
from engine.loading.chat_template import read_chat_template
from engine.loading.gguf_file import GgufFile, gguf_in
from engine.loading.on_disk import EMBEDDED_DIR


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model, with the names of `engine.api.EngineInfo`; empty if unknown."""

    model_type: str = ""
    fim_form: str = ""
    chat_template: str = ""
    is_demo: bool = False


def read_facts(path: Path) -> ModelFacts:
    """Return the facts in a model's folder or GGUF file, or in the folder of its tokenizer.json.

    A folder need not have any of the files. Raises UnsupportedModelError if one is damaged.
    """
    if gguf_in(path) is None and path.is_file():
        path = path.parent  # of tokenizer.json
    config = _config(path)
    return ModelFacts(
        model_type=_text(config, "model_type"),
        fim_form=_text(config, "fim_form"),
        chat_template=read_chat_template(path),
        is_demo=path.resolve() == EMBEDDED_DIR,
    )


def _config(path: Path) -> dict[str, Any]:
    if (gguf := gguf_in(path)) is not None:
        return GgufFile(gguf).config()
    file = path / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{file} is damaged: {reason_of(error)}.") from None
    if not isinstance(config, dict):
        raise UnsupportedModelError(f"{file} is damaged: it contains no object.")
    return config


def _text(config: dict[str, Any], name: str) -> str:
    value = config.get(name)
    return value if isinstance(value, str) else ""
