"""Compare vocabulary sizes by the characters per token of tokenizers trained on a sample."""

from __future__ import annotations

from pathlib import Path

import tokenizers

from training.corpus import load_train
from training.tokenizer import encode, train_tokenizer

_SAMPLE_STRIDE = 8
"""Stride of the sample: a tokenizer that is only measured is trained on every eighth document."""

_MAX_TOKENS_PER_LANGUAGE = 300_000


def train_sample_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Return a tokenizer trained on a sample of the corpus."""
    documents = load_train(folder)
    texts = (document.text for i, document in enumerate(documents) if i % _SAMPLE_STRIDE == 0)
    return train_tokenizer(texts, vocab_size)


def characters_per_token(folder: Path, tokenizer: tokenizers.Tokenizer) -> dict[str, float]:
    """Return the mean characters per token, by language, on a sample of the corpus."""
    characters, tokens = dict[str, int](), dict[str, int]()
    for document in load_train(folder):
        language = document.language
        if tokens.get(language, 0) < _MAX_TOKENS_PER_LANGUAGE:
            characters[language] = characters.get(language, 0) + len(document.text)
            tokens[language] = tokens.get(language, 0) + len(encode(tokenizer, document.text))
    return {name: round(characters[name] / tokens[name], 2) for name in sorted(tokens)}
