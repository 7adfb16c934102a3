"""Encodes the prompts of clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.api import EngineInfo, Message, RenderedChat
from engine.errors import PromptTooLongError
from engine.server.users.threads import in_thread
from engine.tokenizer import Tokenizer

RenderChat = Callable[[Sequence[Message], Tokenizer, str], RenderedChat]
"""Function that renders messages to prompt ids, with the tokenizer and the model's chat template.

Raises RequestError for a conversation that the model cannot continue.
"""


class EncodedPrompt(NamedTuple):
    """The ids of a prompt, and the ids that end its output."""

    ids: tuple[int, ...]
    stop_ids: frozenset[int] = frozenset()


async def encode_prompt(
    prompt: str | list[int], tokenizer: Tokenizer, window: int, parse_special: bool | None = None
) -> EncodedPrompt:
    """Return the ids of a prompt.

    `parse_special` says whether names of special tokens in the text become these tokens. With None
    they do in a template, see `is_template`. No special token is part of the output's text, so the
    output of a template ends at the first one. Any other text stays text. Raises PromptTooLongError
    for a prompt that cannot fit the context window.
    """
    if isinstance(prompt, str):
        check_text_fits(len(prompt), tokenizer, window)
        return await in_thread(_encoded, prompt, tokenizer, parse_special)
    if len(prompt) >= window:
        raise PromptTooLongError.of(len(prompt), window)
    return EncodedPrompt(tuple(prompt))


def check_text_fits(num_characters: int, tokenizer: Tokenizer, window: int) -> None:
    """Raise PromptTooLongError for a text that is too long with even the longest tokens.

    Encoding two megabytes takes most of a second and 200 MB, only to refuse the prompt then.
    """
    if num_characters >= window * tokenizer.longest_token:
        raise PromptTooLongError.of(f"at least {window}", window)


async def render_messages(
    render: RenderChat, messages: Sequence[Message], tokenizer: Tokenizer, info: EngineInfo
) -> RenderedChat:
    """Return the prompt of a chat.

    Raises PromptTooLongError for one that cannot fit the context window.
    """
    num_characters = sum(len(message.content) for message in messages)
    check_text_fits(num_characters, tokenizer, info.context_window)
    return await in_thread(render, messages, tokenizer, info.chat_template)


def _encoded(prompt: str, tokenizer: Tokenizer, parse_special: bool | None) -> EncodedPrompt:
    if parse_special is None and is_template(prompt, tokenizer):
        ids = tuple(tokenizer.encode_with_special(prompt))
        has_start = ids[: len(tokenizer.start_ids)] == tokenizer.start_ids
        return EncodedPrompt(
            ids if has_start else (*tokenizer.start_ids, *ids),
            frozenset(tokenizer.special_tokens.values()),
        )
    if parse_special:
        return EncodedPrompt(tuple(tokenizer.encode_with_special(prompt)))
    # As in vLLM, a text begins with the tokens that the model was trained to see there.
    return EncodedPrompt((*tokenizer.start_ids, *tokenizer.encode_start(prompt)))


def is_template(text: str, tokenizer: Tokenizer) -> bool:
    """Return whether a text begins with the name of a special token and contains another one.

    Plugins that know the tokens of the model write such prompts: every template for fill-in-the-
    middle or chat begins with a special token and has at least two. A file that mentions such names
    in its code begins with something else.
    """
    names = {name.lstrip("▁") for name in tokenizer.special_tokens} - {""}
    first = max((name for name in names if text.startswith(name)), key=len, default="")
    return bool(first) and any(name in text for name in names if name not in first)
