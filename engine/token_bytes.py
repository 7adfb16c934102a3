"""The bytes of tokens, in the two forms of tokenizers that language models of code have.

- **Byte-level BPE** (Radford et al. 2019, GPT-2): each letter of a token's name stands for a byte.
- **SentencePiece's form** (Kudo and Richardson 2018, arXiv:1808.06226), as Llama, Code Llama and
  Mistral have: `▁` in a name stands for a space, and `<0x0A>` for one byte of a character that has
  no token. These tokenizers put a *dummy space* before a text, so that a first word looks like any
  other word.
"""

from __future__ import annotations

import json
import re
from typing import Any

import tokenizers

SPACE_MARK = "▁"
"""U+2581, which stands for a space in the names of SentencePiece's tokens."""
_BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")


def has_space_marks(inner: tokenizers.Tokenizer) -> bool:
    """Return whether the tokenizer has SentencePiece's form."""
    # The library shows the type of a step, but not the steps of a sequence.
    state = b"" if inner.decoder is None else inner.decoder.__getstate__()
    return b'"ByteFallback"' in state or b'"Metaspace"' in state


def without_dummy_space(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a copy that encodes text as it is, without a dummy space before it.

    The dummy space comes from a normalizer (the older form of Llama's tokenizer.json) or from a
    pre-tokenizer (the newer form), or from both.
    """
    content = json.loads(inner.to_str())
    content["normalizer"] = _without_prepend(content["normalizer"])
    pre_tokenizer = content["pre_tokenizer"] or {}
    for step in (pre_tokenizer, *pre_tokenizer.get("pretokenizers", ())):
        if step.get("type") == "Metaspace":
            step["prepend_scheme"] = "never"
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def _without_prepend(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    if normalizer is None or normalizer["type"] == "Prepend":
        return None
    if normalizer["type"] == "Sequence":
        steps = [_without_prepend(step) for step in normalizer["normalizers"]]
        return normalizer | {"normalizers": [step for step in steps if step is not None]}
    return normalizer


def byte_level_bytes(name: str) -> bytes:
    """Return the bytes of a token of byte-level BPE.

    A name with other letters stands for itself, as in the library's decoder.
    """
    try:
        return name.translate(_BYTE_OF_LETTER).encode("latin-1")
    except UnicodeEncodeError:
        return name.encode()


def space_mark_bytes(name: str) -> bytes:
    """Return the bytes of a token in SentencePiece's form."""
    if is_byte_name(name):
        return bytes.fromhex(name[3:5])
    return name.replace(SPACE_MARK, " ").encode()


def is_byte_name(name: str) -> bool:
    """Return whether a token in SentencePiece's form stands for one byte of a character."""
    return _BYTE_NAME.fullmatch(name) is not None


def byte_names(text: str) -> list[str]:
    """Return the names of the byte tokens in SentencePiece's form that write a text."""
    return [f"<0x{byte:02X}>" for byte in text.encode()]


def _byte_of_letter() -> dict[int, int]:
    """Return the byte for which each letter of a byte-level token's name stands, by code point.

    As in GPT-2's encoder.py: a visible character stands for itself, and the other bytes are
    numbered from 256 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in set(visible)]
    return {0x100 + index: byte for index, byte in enumerate(hidden)}


_BYTE_OF_LETTER = _byte_of_letter()
