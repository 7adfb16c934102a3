"""The files of a merged checkpoint besides its weights: tokenizer, chat template and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chat.formats import CHATML_TEMPLATE
from chat.rendering import choose_format, render
from engine.api import Message
from engine.loading.adapter_store import TEMPLATE_FILE, TOKENIZER_FILE, AdapterFolder
from engine.loading.shared_files import copy_shared_files
from engine.loading.trainable import TrainableModel
from engine.tokenizer import Tokenizer

_GENERATION_FILE = "generation_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"


def write_files(base: TrainableModel, adapter: AdapterFolder, folder: Path) -> None:
    """Write everything but weights, config.json and README.md. Raises OSError or ModelError."""
    copy_shared_files(base.path, folder)
    _copy(base.path / _GENERATION_FILE, folder)
    for name in (TOKENIZER_FILE, TEMPLATE_FILE):
        _copy(adapter.path / name, folder)
    tokenizer = Tokenizer.from_file(folder)
    _declare_tokens(base.tokenizer(), tokenizer, folder)
    stops: frozenset[int] = frozenset()
    if (adapter.path / TEMPLATE_FILE).exists():
        stops = _write_chat_template(base, tokenizer, folder)
    _write_generation_config(base, stops, folder)


def _copy(file: Path, folder: Path) -> None:
    if file.is_file():
        (folder / file.name).write_bytes(file.read_bytes())


def _declare_tokens(old: Tokenizer, new: Tokenizer, folder: Path) -> None:
    """Name added tokens in the files that older versions of transformers read."""
    added = {name: id_ for name, id_ in new.special_tokens.items() if old.special_id(name) is None}
    for file in (folder / _TOKENIZER_CONFIG, folder / "special_tokens_map.json"):
        content = _read_object(file)
        if not added or content is None:
            continue
        if isinstance(content.get("additional_special_tokens"), list):
            content["additional_special_tokens"] += list(added)
        if isinstance(content.get("added_tokens_decoder"), dict):
            for name, id_ in added.items():
                content["added_tokens_decoder"][str(id_)] = {"content": name, "special": True}
        _write_object(file, content)


def _write_chat_template(
    base: TrainableModel, tokenizer: Tokenizer, folder: Path
) -> frozenset[int]:
    """Write ChatML's template for a model without one; return the ids that end an answer."""
    template = base.chat_template
    if not template:
        template = CHATML_TEMPLATE
        (folder / _TEMPLATE).write_text(template, encoding="utf-8")
    name = choose_format(tokenizer, template)
    return render([Message("user", "?")], tokenizer, template, name).stop_ids


def _write_generation_config(base: TrainableModel, stops: frozenset[int], folder: Path) -> None:
    """Write the ids that end the output: those of the model, and those that end an answer."""
    file = folder / _GENERATION_FILE
    content = _read_object(file) or {
        name: base.config[name]
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        if base.config.get(name) is not None
    }
    ends = content.get("eos_token_id", base.config.get("eos_token_id"))
    own = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if extra := sorted(stops - set(own)):
        content["eos_token_id"] = [*own, *extra]
    _write_object(file, content)


def _read_object(file: Path) -> dict[str, Any] | None:
    """Return a JSON object, None if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_object(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
