"""Render chat messages to token ids, in the format that the model was trained on.

Serving and fine-tuning use the same functions, so their formats are always the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from chat import model_template
from chat.formats import CHATML_TOKENS, FORMATS, ROLES
from chat.pieces import EncodedDialogue, Piece, encode
from engine.api import Message, RenderedChat
from engine.errors import RequestError
from engine.tokenizer import Tokenizer

FormatName = Literal["chatml", "alpaca", "plain", "own"]
"""The names of the chat formats. `own` is the chat template of the model."""


def choose_format(tokenizer: Tokenizer, template: str = "") -> FormatName:
    """Return the format for a model, by its special tokens and its chat template."""
    if all(tokenizer.special_id(name) is not None for name in CHATML_TOKENS):
        return "chatml"
    return "own" if template else "plain"


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: str = "",
    format_name: FormatName | None = None,
    begin: str = "",
) -> RenderedChat:
    """Return the prompt for the next answer of the assistant, and what ends the answer.

    `template` is the chat template of the model, empty if it has none. `begin` is the beginning of
    the answer, which the model continues. The content of messages is encoded without special
    tokens, so a message cannot end its turn or forge another one. Raises RequestError for an empty
    dialogue, for an unknown role, and if the last message is not from the user.
    """
    _check_question(messages)
    name = format_name or choose_format(tokenizer, template)
    if name == "own":
        _check_template(template)
        pieces = model_template.prompt_pieces(template, messages, tokenizer)
        stop_ids = model_template.stop_ids(template, tokenizer)
        stop_text: tuple[str, ...] = ()
    else:
        form = FORMATS[name]
        pieces = [*form.render_turns(messages), *form.answer_opening]
        ids = (tokenizer.special_id(token) for token in form.stop_tokens)
        stop_ids, stop_text = frozenset(id_ for id_ in ids if id_ is not None), form.stop_text
        begin = form.before_answer + begin if begin else ""
    if begin:
        pieces.append(Piece(begin))
    return RenderedChat(encode(pieces, tokenizer).ids, stop_ids, stop_text)


def render_dialogue(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: str = "",
    format_name: FormatName | None = None,
) -> EncodedDialogue:
    """Return the ids of a whole dialogue, with the assistant's ids marked for the loss.

    Raises RequestError for a dialogue without an answer of the assistant.
    """
    _check_roles(messages)
    if not any(message.role == "assistant" for message in messages):
        raise RequestError(
            "The dialogue has no message of the assistant, so there is nothing to learn from it."
        )
    name = format_name or choose_format(tokenizer, template)
    if name == "own":
        _check_template(template)
        return encode(model_template.dialogue_pieces(template, messages, tokenizer), tokenizer)
    return encode(FORMATS[name].render_turns(messages), tokenizer)


def _check_template(template: str) -> None:
    if not template:
        raise RequestError(
            "The model has no chat template. Choose another chatFormat: chatml, alpaca or plain."
        )


def _check_roles(messages: Sequence[Message]) -> None:
    for message in messages:
        if message.role not in ROLES:
            raise RequestError(
                f"A message has the role {message.role!r}. Use one of {', '.join(ROLES)}."
            )


def _check_question(messages: Sequence[Message]) -> None:
    _check_roles(messages)
    if not messages or messages[-1].role != "user":
        raise RequestError("The last message must have the role 'user': the model answers it.")
