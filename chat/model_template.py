"""Render dialogues with the chat template of a model: Jinja, as in transformers.

The template never sees the content of messages. It gets a random placeholder for each message, and
the content is put in afterwards. So a message cannot contain special tokens or template code.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat.pieces import Piece
from engine.api import Message
from engine.errors import RequestError
from engine.tokenizer import END_OF_TEXT, Tokenizer


def dialogue_pieces(
    template: str, messages: Sequence[Message], tokenizer: Tokenizer
) -> list[Piece]:
    """Return a finished dialogue in pieces. Raises RequestError if the template rejects it."""
    return _render(template, messages, tokenizer, with_answer_opening=False)


def prompt_pieces(template: str, messages: Sequence[Message], tokenizer: Tokenizer) -> list[Piece]:
    """Return a dialogue up to the beginning of the next answer. Raises RequestError."""
    return _render(template, messages, tokenizer, with_answer_opening=True)


def stop_ids(template: str, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids that end an answer: of the template's token after an answer, and of
    `<|endoftext|>`.
    """
    sample = [Message("user", "?"), Message("assistant", "!")]
    pieces = _render(template, sample, tokenizer, with_answer_opening=False)
    names = {piece.text for piece in pieces if piece.is_special and piece.has_loss}
    ids = (*map(tokenizer.special_id, names), tokenizer.end_of_text_id)
    return frozenset(id_ for id_ in ids if id_ is not None)


def _render(
    template: str, messages: Sequence[Message], tokenizer: Tokenizer, *, with_answer_opening: bool
) -> list[Piece]:
    placeholders = {f"[{uuid.uuid4().hex}]": message for message in messages}
    template_messages = [
        {"role": message.role, "content": placeholder}
        for placeholder, message in placeholders.items()
    ]
    end_of_text = _end_of_text(tokenizer)
    try:
        text = _compiled(template).render(
            messages=template_messages,
            add_generation_prompt=with_answer_opening,
            bos_token=_start_of_text(tokenizer) or end_of_text,
            eos_token=end_of_text,
            unk_token=end_of_text,
            pad_token=end_of_text,
        )
    except TemplateError as error:
        raise RequestError(
            f"The model's chat template rejects this dialogue: {error}. Choose another chatFormat, "
            "or leave out what it rejects."
        ) from None
    return _split(text, placeholders, tokenizer)


_ENDS_OF_TEXT = (END_OF_TEXT, "</s>", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|im_end|>")
"""Names of the token that ends a text; most models have one of them."""


def _end_of_text(tokenizer: Tokenizer) -> str:
    """Return the name of the token that ends a text, empty if the model has none."""
    names = tokenizer.special_tokens
    return next((name for name in _ENDS_OF_TEXT if name in names), "")


def _start_of_text(tokenizer: Tokenizer) -> str:
    """Return the name of the token that the tokenizer puts before a text, empty without one."""
    starts = tokenizer.start_ids
    names = {id_: name for name, id_ in tokenizer.special_tokens.items()}
    return names.get(starts[0], "") if starts else ""


def _split(text: str, placeholders: Mapping[str, Message], tokenizer: Tokenizer) -> list[Piece]:
    """Split rendered text into pieces, with the content of messages in place of placeholders."""
    special_names = sorted(tokenizer.special_tokens, key=len, reverse=True)
    alternatives = "|".join(re.escape(name) for name in [*placeholders, *special_names])
    matches_nothing = r"(?!)"
    pieces: list[Piece] = []
    end, is_after_answer = 0, False
    for match in re.finditer(alternatives or matches_nothing, text):
        if match.start() > end:
            pieces.append(Piece(text[end : match.start()]))
        message = placeholders.get(match[0])
        if message is not None:
            is_after_answer = message.role == "assistant"
            pieces.append(Piece(message.content, has_loss=is_after_answer))
        else:
            # The special token after an answer ends it, so the model has to learn it.
            pieces.append(Piece(match[0], is_special=True, has_loss=is_after_answer))
            is_after_answer = False
        end = match.end()
    return [*pieces, Piece(text[end:])]


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise_exception
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise RequestError(
            f"The model's chat template cannot be read: {error}. Choose another chatFormat."
        ) from None


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
