"""Encodes the prompts of clients."""

from __future__ import annotations

from typing import NamedTuple

from engine.server.users.threads import in_thread
from engine.tokenizer import Tokenizer


class EncodedPrompt(NamedTuple):
    """The ids of a prompt, and the ids that end its output."""

    ids: tuple[int, ...]
    stop_ids: frozenset[int] = frozenset()


async def encode_prompt(
    prompt: str | list[int], tokenizer: Tokenizer, parse_special: bool | None = None
) -> EncodedPrompt:
    """Return the ids of a prompt.

    `parse_special` says whether names of special tokens in the text become these tokens. With None
    they do in a template, see `is_template`. No special token is part of the output's text, so the
    output of a template ends at the first one. Any other text stays text.
    """
    if isinstance(prompt, list):
        return EncodedPrompt(tuple(prompt))
    if parse_special is None and is_template(prompt, tokenizer):
        ids = tuple(await in_thread(tokenizer.encode_with_special, prompt))
        has_start = ids[: len(tokenizer.start_ids)] == tokenizer.start_ids
        return EncodedPrompt(
            ids if has_start else (*tokenizer.start_ids, *ids),
            frozenset(tokenizer.special_tokens.values()),
        )
    if parse_special:
        return EncodedPrompt(tuple(await in_thread(tokenizer.encode_with_special, prompt)))
    # As in vLLM, a text begins with the tokens that the model was trained to see there.
    ids = tuple(await in_thread(tokenizer.encode_start, prompt))
    return EncodedPrompt((*tokenizer.start_ids, *ids))


def is_template(text: str, tokenizer: Tokenizer) -> bool:
    """Return whether a text begins with the name of a special token and contains another one.

    Plugins that know the tokens of the model write such prompts: every template for fill-in-the-
    middle or chat begins with a special token and has at least two. A file that mentions such names
    in its code begins with something else.
    """
    names = {name.lstrip("▁") for name in tokenizer.special_tokens} - {""}
    first = max((name for name in names if text.startswith(name)), key=len, default="")
    return bool(first) and any(name in text for name in names if name not in first)
