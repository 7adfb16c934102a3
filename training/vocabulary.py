"""Train vocabularies on a sample of the corpus, and compare their sizes by characters per token."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import tokenizers

from training.collect import CorpusDocument
from training.corpus import load_train
from training.tokenizer import encode, train_tokenizer

_SAMPLE_STRIDE = 8
"""Stride of the sample: a tokenizer is trained on an eighth of the documents."""

_MAX_TOKENS_PER_LANGUAGE = 1_000_000
_MAX_CHARACTERS_PER_FILE = 10_000
"""Maximum characters of a file that are measured, so that no table of numbers dominates."""


def sample_texts(folder: Path) -> Iterator[str]:
    """Yield an eighth of the training documents, whatever their order."""
    return (document.text for document in load_train(folder) if _number(document) == 0)


def _number(document: CorpusDocument) -> int:
    return zlib.crc32(f"{document.project} {document.path}".encode()) % _SAMPLE_STRIDE


def train_sample_tokenizers(folder: Path, sizes: list[int]) -> dict[int, tokenizers.Tokenizer]:
    """Return a tokenizer of each size, trained on a sample of the corpus.

    Only the largest is trained: a smaller vocabulary consists of its first merges.
    """
    largest = train_tokenizer(sample_texts(folder), max(sizes))
    return {size: truncate_vocabulary(largest, size) for size in sizes}


def truncate_vocabulary(tokenizer: tokenizers.Tokenizer, size: int) -> tokenizers.Tokenizer:
    """Return the tokenizer that training with a smaller vocabulary would have given."""
    fields = json.loads(tokenizer.to_str())
    model = fields["model"]
    ids = model["vocab"]
    # A pair is merged in the order of the ids, and the result is a token of the vocabulary.
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    model["merges"] = [pair for pair in merges if ids["".join(pair)] < size]
    model["vocab"] = {token: id_ for token, id_ in ids.items() if id_ < size}
    return tokenizers.Tokenizer.from_str(json.dumps(fields))


def characters_per_token(folder: Path, tokenizer: tokenizers.Tokenizer) -> dict[str, float]:
    """Return the mean characters per token, by language, on the rest of the corpus."""
    characters, tokens = dict[str, int](), dict[str, int]()
    for document in load_train(folder):
        language = document.language
        if _number(document) and tokens.get(language, 0) < _MAX_TOKENS_PER_LANGUAGE:
            text = document.text[:_MAX_CHARACTERS_PER_FILE]
            characters[language] = characters.get(language, 0) + len(text)
            tokens[language] = tokens.get(language, 0) + len(encode(tokenizer, text))
    return {name: round(characters[name] / tokens[name], 2) for name in sorted(tokens)}
