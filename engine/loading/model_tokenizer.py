"""Reads the tokenizer of a model on disk. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from engine.loading.gguf_file import GgufFile, gguf_in
from engine.tokenizer import Tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a model: a directory, a GGUF file, or a tokenizer.json.

    Raises ModelNotFoundError if there is none, UnsupportedModelError if it is damaged.
    """
    file = gguf_in(path)
    if file is None:
        return Tokenizer.from_file(path)
    return Tokenizer.from_json(GgufFile(file).tokenizer_json(), f"the tokenizer in {file}")
