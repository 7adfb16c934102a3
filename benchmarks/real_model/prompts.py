"""The prompts and the text with which a real model is measured."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Any

from chat.rendering import render
from engine.api import Message
from engine.network.model import LoadedModel
from engine.tokenizer import Tokenizer

_FILE = Path(__file__).with_name("prompts.json")
_LICENSE = Path(__file__).parents[2] / "LICENSE"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue, or a dialogue to answer."""

    kind: str
    """`code`, `prose`, `chat` or `dialogue`."""
    text: str = ""
    messages: tuple[Message, ...] = ()

    def ids(self, model: LoadedModel) -> tuple[int, ...]:
        """Return the prompt as the product sends it to the engine."""
        if self.messages:
            return render(self.messages, model.tokenizer, model.info.chat_template).ids
        return tuple(model.tokenizer.encode(self.text))


def read_prompts() -> list[Prompt]:
    """Return the prompts of prompts.json."""
    return [_prompt_of(entry) for entry in json.loads(_FILE.read_text(encoding="utf-8"))]


def _prompt_of(entry: dict[str, Any]) -> Prompt:
    roles = ("user", "assistant")
    messages = [
        Message(roles[index % 2], text) for index, text in enumerate(entry.get("messages", ()))
    ]
    if "system" in entry:
        messages.insert(0, Message("system", entry["system"]))
    return Prompt(entry["kind"], entry.get("text", ""), tuple(messages))


def held_out_text() -> str:
    """Return prose and code that ship with Python and this project, about 22,000 tokens.

    They are the reference of Python's types, the modules `heapq` and `textwrap`, and the Apache
    License 2.0. The first three are those of the running Python. The model may have seen them in
    its training. So the perplexity says nothing about its quality, but all number formats see the
    same text.
    """
    modules = [_source("heapq"), _source("textwrap")]
    return "\n".join([topics.topics["types"], *modules, _LICENSE.read_text(encoding="utf-8")])


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def windows(tokenizer: Tokenizer, size: int) -> list[tuple[int, ...]]:
    """Return the whole windows of `size` tokens of the held-out text, one after another."""
    ids = tokenizer.encode(held_out_text())
    return [tuple(ids[start : start + size]) for start in range(0, len(ids) - size + 1, size)]
