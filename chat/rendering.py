"""Messages to prompt ids, in the format that the model was trained on.

Serving and fine-tuning render by the same functions, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from chat import model_template
from chat.formats import CHATML_TOKENS, FORMATS, ROLES
from chat.pieces import EncodedDialogue, Piece, encode
from engine.api import Message, RenderedChat
from engine.errors import RequestError
from engine.tokenizer import Tokenizer

FormatName = Literal["chatml", "alpaca", "plain", "own"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)
"""`own` is the template that the model brings."""


def choose_format(tokenizer: Tokenizer, template: str = "") -> FormatName:
    """Return the format that a model knows, by its tokens and its own chat template."""
    if all(tokenizer.special_id(name) is not None for name in CHATML_TOKENS):
        return "chatml"
    return "own" if template else "plain"


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: str = "",
    format_name: FormatName | None = None,
    answer: str = "",
) -> RenderedChat:
    """Return the prompt ids for the next assistant turn, and what ends it.

    `template` is the model's own, empty where it brings none; `answer` is how the answer begins,
    for the model to go on with. Content is encoded with special tokens off, so no message can end
    its own turn or forge one. Raises RequestError for an empty conversation, an unknown role, or a
    last message that is not the user's.
    """
    _check(messages)
    name = format_name or choose_format(tokenizer, template)
    if name == "own":
        _need(template)
        pieces = model_template.opening(template, messages, tokenizer)
        stop_ids = model_template.ends(template, tokenizer)
        begun, stop_text = answer, tuple[str, ...]()
    else:
        form = FORMATS[name]
        pieces = [*form.turns(messages), *form.opening]
        ids = (tokenizer.special_id(token) for token in form.stop_tokens)
        stop_ids, stop_text = frozenset(id_ for id_ in ids if id_ is not None), form.stop_text
        begun = form.before_answer + answer if answer else ""
    if begun:
        pieces.append(Piece(begun))
    return RenderedChat(encode(pieces, tokenizer).ids, stop_ids, stop_text)


def render_dialogue(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: str = "",
    format_name: FormatName | None = None,
) -> EncodedDialogue:
    """Return the ids of a whole dialogue, and which of them the assistant wrote.

    Raises RequestError for a dialogue in which the assistant says nothing.
    """
    _check_roles(messages)
    if not any(message.role == "assistant" for message in messages):
        raise RequestError("The assistant says nothing in it: there is nothing to learn.")
    name = format_name or choose_format(tokenizer, template)
    if name == "own":
        _need(template)
        return encode(model_template.turns(template, messages, tokenizer), tokenizer)
    return encode(FORMATS[name].turns(messages), tokenizer)


def _need(template: str) -> None:
    if not template:
        raise RequestError(
            "The model brings no chat template. Choose another chatFormat: chatml, alpaca or plain."
        )


def _check_roles(messages: Sequence[Message]) -> None:
    for message in messages:
        if message.role not in ROLES:
            raise RequestError(
                f"A message has the role {message.role!r}; use one of {', '.join(ROLES)}."
            )


def _check(messages: Sequence[Message]) -> None:
    _check_roles(messages)
    if not messages or messages[-1].role != "user":
        raise RequestError("The last message must be the user's: that is what gets answered.")
