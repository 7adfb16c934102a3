"""The tokenizer: byte-level BPE with StarCoder's special tokens and single digits.

Source text is always encoded without special tokens: a file that contains `<fim_suffix>` trains
these characters, not the special token. Special tokens are looked up by name and inserted as ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<fim_pad>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<empty_output>",
    "<commit_before>",
    "<commit_msg>",
    "<commit_after>",
    "<reponame>",
)
"""StarCoder's special tokens in their order: ids 0 to 18 (bigcode/starcoder, tokenizer.json)."""

CHAT_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
"""ChatML's tokens, which StarChat appends to StarCoder's vocabulary."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """Return a tokenizer with `vocab_size` ids; the special tokens have the first ids."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def add_chat_tokens(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Append ChatML's tokens if they are missing; return the same tokenizer."""
    tokenizer.add_special_tokens(list(CHAT_TOKENS))
    return tokenizer


def load_tokenizer(file: Path) -> tokenizers.Tokenizer:
    """Load a `tokenizer.json`; names of special tokens in a text are encoded as text."""
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.encode_special_tokens = True  # the library's name for "encode them as text"
    return tokenizer


def encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """Return the ids of plain text, without special tokens before or after."""
    return list(tokenizer.encode(encodable(text), add_special_tokens=False).ids)


def encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which no tokenizer accepts.

    The docstring of a function can contain them.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def special_id(tokenizer: tokenizers.Tokenizer, name: str) -> int:
    """Return the id of a special token. Raises ValueError if there is none of that name."""
    id_ = tokenizer.token_to_id(name)
    if id_ is None or name not in (*SPECIAL_TOKENS, *CHAT_TOKENS):
        raise ValueError(f"the tokenizer has no special token {name}")
    return int(id_)
