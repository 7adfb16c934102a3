"""Which of a server's models the settings mean, and what is known about it on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.api import EngineInfo
from engine.client.servers.ours import is_our_model
from engine.errors import ModelNotFoundError, UnsupportedModelError
from engine.loading.model_facts import read_facts

_MAX_NAMES = 20
"""Number of a server's models that a message lists."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model at a URL, as the settings name it."""

    name: str | None = None
    """Name under which the server lists the model; None is its first one."""
    tokenizer: Path | None = None
    """Folder of the model, its GGUF file, or its tokenizer.json; None if the server has it."""
    context_window: int | None = None
    """Limits the window, in tokens, of a server that is not ours; it stands for the window of a
    server that does not report one."""
    name_setting: str = "engineModel"
    """The setting that contains `name`, for messages."""
    tokenizer_setting: str = "tokenizer"
    """The setting that contains `tokenizer`, for messages."""


def select_entry(entries: Sequence[Any], choice: RemoteModel, url: str) -> Mapping[str, Any]:
    """Return the entry of `/v1/models` that describes the model.

    Raises ModelNotFoundError if the server does not have it, and LookupError, TypeError or
    AttributeError if the entries are not those of OpenAI's API.
    """
    # Our server lists adapters too. They are not models: a request names them in `adapter`.
    models = [entry for entry in entries if is_our_model(entry)] or entries
    if choice.name is None:
        first: Mapping[str, Any] = models[0]
        return first
    for entry in models:
        if entry["id"] == choice.name:
            return entry  # type: ignore[no-any-return]
    raise ModelNotFoundError(_not_listed([str(entry["id"]) for entry in models], choice, url))


def _not_listed(names: Sequence[str], choice: RemoteModel, url: str) -> str:
    shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    has = f"one that it has ({shown})" if names else "one that it has"
    return (
        f"The engine at {url} does not have the model {choice.name}. Set "
        f"starcoder.{choice.name_setting} to {has}, or leave it empty."
    )


def identity_of(entry: Mapping[str, Any]) -> str:
    """Return what of an entry changes only with the model, so that its tokenizer may differ.

    Other members, such as vLLM's `created`, change with every answer.
    """
    ours = {
        key: value for key, value in (entry.get("starcoder") or {}).items() if key != "adapters"
    }
    names = ("id", "root", "parent", "max_model_len", "meta")
    return json.dumps([[entry.get(name) for name in names], ours], sort_keys=True, default=str)


async def with_local_facts(info: EngineInfo, choice: RemoteModel) -> EngineInfo:
    """Return the description of a foreign server's model, with what its folder says about it.

    Raises UnsupportedModelError if the folder is damaged.
    """
    if choice.tokenizer is None:
        return info
    try:
        facts = await asyncio.to_thread(read_facts, choice.tokenizer)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            f"{error.user_message} Check starcoder.{choice.tokenizer_setting}."
        ) from None
    return replace(
        info,
        model_type=facts.model_type,
        fim_form=facts.fim_form,
        chat_template=facts.chat_template,
        is_demo=facts.is_demo,
    )
