"""Reads the chat template of a model on disk. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import UnsupportedModelError, reason_of
from engine.loading.gguf_file import GgufFile, gguf_in

_JSON_FILES = ("chat_template.json", "tokenizer_config.json")


def read_chat_template(path: Path) -> str:
    """Return the model's own chat template, empty if it has none.

    It is in the metadata of a GGUF file, in `chat_template.jinja`, or as older versions of
    transformers wrote it, in `chat_template.json` or `tokenizer_config.json`. Of several templates,
    the one named `default` is returned. Raises UnsupportedModelError if a template is no text.
    """
    if (gguf := gguf_in(path)) is not None:
        return GgufFile(gguf).chat_template()
    file = path / "chat_template.jinja"
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnsupportedModelError(f"{file} is damaged: {reason_of(error)}.") from None
    except OSError:  # there is none
        pass
    return next(filter(None, (_in_json(path / name) for name in _JSON_FILES)), "")


def _in_json(file: Path) -> str:
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    template = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(template, list):
        named = [each for each in template if isinstance(each, dict)]
        template = {each.get("name"): each.get("template") for each in named}.get("default")
    return template if isinstance(template, str) else ""
