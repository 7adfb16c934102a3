"""The chat template that a model brings, in Jinja as transformers reads it.

Contents are kept out of the template: a mark stands for each while it is rendered, so that no
message can spell a special token or a piece of template.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat.pieces import Piece
from engine.api import Message
from engine.errors import RequestError
from engine.tokenizer import END_OF_TEXT, Tokenizer


def turns(template: str, messages: Sequence[Message], tokenizer: Tokenizer) -> list[Piece]:
    """Return finished turns as the template writes them. Raises RequestError if it refuses them."""
    return _render(template, messages, tokenizer, opening=False)


def opening(template: str, messages: Sequence[Message], tokenizer: Tokenizer) -> list[Piece]:
    """Return the dialogue up to where the answer begins. Raises RequestError."""
    return _render(template, messages, tokenizer, opening=True)


def ends(template: str, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids that end an answer: what the template puts behind one, and end of text."""
    said = [Message("user", "?"), Message("assistant", "!")]
    pieces = _render(template, said, tokenizer, opening=False)
    marks = {tokenizer.special_id(one.text) for one in pieces if one.special and one.learned}
    return frozenset(id_ for id_ in (*marks, tokenizer.end_of_text_id) if id_ is not None)


def _render(
    template: str, messages: Sequence[Message], tokenizer: Tokenizer, *, opening: bool
) -> list[Piece]:
    marks = {f"[{uuid.uuid4().hex}]": message for message in messages}
    said = [{"role": message.role, "content": mark} for mark, message in marks.items()]
    end = END_OF_TEXT if tokenizer.end_of_text_id is not None else ""
    try:
        text = _compiled(template).render(
            messages=said,
            add_generation_prompt=opening,
            bos_token=end,
            eos_token=end,
            unk_token=end,
            pad_token=end,
        )
    except TemplateError as error:
        raise RequestError(f"The model's chat template refuses this dialogue: {error}") from None
    return _pieces(text, marks, tokenizer)


def _pieces(text: str, marks: Mapping[str, Message], tokenizer: Tokenizer) -> list[Piece]:
    names = sorted(tokenizer.special_tokens, key=len, reverse=True)
    either = re.compile("|".join(re.escape(name) for name in [*marks, *names]) or r"(?!)")
    pieces: list[Piece] = []
    end, answered = 0, False
    for found in either.finditer(text):
        if found.start() > end:
            pieces.append(Piece(text[end : found.start()]))
        message = marks.get(found[0])
        if message is not None:
            answered = message.role == "assistant"
            pieces.append(Piece(message.content, learned=answered))
        else:
            pieces.append(Piece(found[0], special=True, learned=answered))
            answered = False
        end = found.end()
    return [*pieces, Piece(text[end:])]


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise RequestError(f"The model's chat template cannot be read: {error}") from None


def _refuse(message: str) -> Any:
    raise TemplateError(message)
