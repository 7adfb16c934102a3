"""Renders fill-in-the-middle for clients of the engine's server that send text, not token ids.

The server passes what the client sent; `fim.prompt.build` selects, cuts and orders it as for a
completion of ours.
"""

from __future__ import annotations

from engine.api import FimText, RenderedFim
from engine.errors import RequestError
from engine.tokenizer import Tokenizer
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import DEFAULT_FORM, FORMS
from fim.snapshot import Excerpt, Snapshot

UNNAMED = "filename"
"""Path of the text around the cursor, which no request names: the same as in llama.cpp."""


def render(text: FimText, tokenizer: Tokenizer, form: str, max_tokens: int) -> RenderedFim:
    """Return the prompt, with at most `max_tokens` tokens.

    `form` is `engine.api.EngineInfo.fim_form`. A text that is too long is cut: the prefix at its
    start, the suffix at its end. Excerpts that do not fit are left out, the first ones first.
    Raises RequestError for a model without tokens for fill-in-the-middle.
    """
    family = detect(tokenizer)
    if family.fim is None:
        raise RequestError(
            "This model has no fill-in-the-middle tokens, so it cannot use the text after the "
            "cursor. Send no suffix, or serve a model that has them, such as "
            "bigcode/starcoderbase-1b."
        )
    before, excerpts = text.prefix, text.excerpts
    if family.files is None:  # as in llama.cpp, other files are then text before the prefix
        before = "".join(f"{content.rstrip()}\n\n" for _, content in excerpts) + before
        excerpts = ()
    snapshot = Snapshot(
        uri="",
        language_id="",
        text=before + text.suffix,
        cursor=len(before),
        path=UNNAMED if excerpts else "",
        excerpts=tuple(Excerpt(path or UNNAMED, content) for path, content in reversed(excerpts)),
    )
    prompt = build(
        snapshot,
        family,
        tokenizer.encode,
        max_tokens,
        next((name for name in FORMS if name == form), DEFAULT_FORM),
        tokenizer.encode_start,
    )
    return RenderedFim(prompt, family.stop_ids)
