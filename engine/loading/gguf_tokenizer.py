"""Makes a tokenizer.json from the metadata of a GGUF file. Imports no torch.

GGUF files have two kinds of tokenizers: byte-level BPE (`gpt2`), and SentencePiece's BPE (`llama`),
which has scores in place of merges. The result is what transformers' converters write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.errors import UnsupportedModelError
from engine.loading.gguf_metadata import Metadata
from engine.loading.gguf_pretokenizers import (
    NFC,
    WHOLE_WORDS,
    pre_tokenizer,
    pre_tokenizer_name,
    starts_with_bos,
)

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
"""Types of tokens (enum llama_token_type)."""
_PADDING = re.compile(r"\[PAD\d+\]")
"""Names that llama.cpp gives to rows of the embedding without a token."""
_SPACE = "▁"
_ID_KEYS = (
    "eos", "eot", "eom", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep", "prefix",
    "suffix", "middle",
)  # fmt: skip
"""The metadata names special tokens in keys `tokenizer.ggml.*_token_id`.

Some files also have such keys for padding, BOS and the unknown token when the model has none. They
then name an ordinary token, so here they do not count.
"""
_SPECIAL_NAMES = frozenset(
    f"{_SPACE}<{name}>" for name in ("PRE", "SUF", "MID", "EOT")
)  # CodeLlama's, which some files have as ordinary tokens


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    tokens: list[str]
    types: list[int]
    special: frozenset[int]
    """Ids of the tokens that never come from text."""

    def ordinary(self) -> Iterable[tuple[int, str]]:
        """Yield the tokens except those that only pad the embedding."""
        for id_, (token, type_) in enumerate(zip(self.tokens, self.types, strict=True)):
            if type_ != _UNUSED or not _PADDING.fullmatch(token):
                yield id_, token

    def added(self) -> list[dict[str, Any]]:
        """Return the entries of `added_tokens`: tokens that are not made of smaller ones."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return [
            {"id": id_, "content": token, **flags, "special": id_ in self.special}
            for id_, token in self.ordinary()
            if id_ in self.special or self.types[id_] == _USER_DEFINED
        ]


def make_tokenizer(metadata: Metadata) -> str:
    """Return the text of a tokenizer.json with the same tokens and the same behaviour.

    Raises UnsupportedModelError for a tokenizer that is damaged or of a kind that is not supported.
    """
    vocabulary = _read_vocabulary(metadata)
    model = metadata.text("tokenizer.ggml.model")
    if model == "gpt2":
        parts = _byte_level(metadata, vocabulary)
    elif model == "llama":
        parts = _sentence_piece(metadata, vocabulary)
    else:
        raise UnsupportedModelError(
            f"{metadata.source} has a tokenizer of the kind {model[:40]!r}, which is not "
            "supported. Use the model's safetensors, or another model."
        )
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        **parts,
    }
    return json.dumps(content, ensure_ascii=False)


def _read_vocabulary(metadata: Metadata) -> _Vocabulary:
    tokens = metadata.strings("tokenizer.ggml.tokens")
    key = "tokenizer.ggml.token_type"
    types = metadata.numbers(key) if metadata.has(key) else [_NORMAL] * len(tokens)
    if len(types) != len(tokens):
        metadata.damaged(key)
    if len(set(tokens)) != len(tokens):
        metadata.damaged("tokenizer.ggml.tokens")
    special = {id_ for id_, type_ in enumerate(types) if type_ in (_CONTROL, _UNKNOWN)}
    special |= {id_ for id_, token in enumerate(tokens) if token in _SPECIAL_NAMES}
    for name in _ID_KEYS if metadata.has(key) else (*_ID_KEYS, "bos"):
        id_key = f"tokenizer.ggml.{name}_token_id"
        if metadata.has(id_key) and (id_ := metadata.integer(id_key, smallest=0)) < len(tokens):
            special.add(id_)
    return _Vocabulary(tokens, types, frozenset(special))


def _byte_level(metadata: Metadata, vocabulary: _Vocabulary) -> dict[str, Any]:
    name = pre_tokenizer_name(
        metadata.text("tokenizer.ggml.pre", ""),
        metadata.architecture,
        vocabulary.tokens,
        metadata.source,
    )
    merges = []
    for merge in metadata.strings("tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        if not left or not right:
            metadata.damaged("tokenizer.ggml.merges")
        merges.append((left, right))
    vocab = _vocab_of_model(vocabulary, merges)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    byte_level["use_regex"] = False
    return {
        "normalizer": {"type": "NFC"} if name in NFC else None,
        "pre_tokenizer": pre_tokenizer(name),
        "post_processor": _start(metadata, vocabulary, default=starts_with_bos(name)) or byte_level,
        "decoder": byte_level,
        "model": _bpe(vocab, merges, ignore_merges=name in WHOLE_WORDS),
    }


def _vocab_of_model(vocabulary: _Vocabulary, merges: list[tuple[str, str]]) -> dict[str, int]:
    """Return the ids of all tokens, without added tokens if they all follow the others.

    tokenizers numbers added tokens that the model does not have after those that it has.
    """
    vocab = {token: id_ for id_, token in vocabulary.ordinary()}
    added = {entry["content"] for entry in vocabulary.added()}
    added -= {token for left, right in merges for token in (left, right, left + right)}
    model = {token: id_ for token, id_ in vocab.items() if token not in added}
    follow = len(vocab) == max(vocab.values(), default=-1) + 1 == len(model) + len(added)
    return model if follow and max(model.values(), default=-1) < len(model) else vocab


def _sentence_piece(metadata: Metadata, vocabulary: _Vocabulary) -> dict[str, Any]:
    key = "tokenizer.ggml.scores"
    scores = metadata.numbers(key)
    if len(scores) != len(vocabulary.tokens) or any(score != score for score in scores):
        metadata.damaged(key)
    vocab = {token: id_ for id_, token in vocabulary.ordinary()}
    added = {entry["content"] for entry in vocabulary.added()}
    pieces = {token: scores[id_] for token, id_ in vocab.items() if token not in added}
    has_unknown = _UNKNOWN in vocabulary.types
    unknown = vocabulary.tokens[vocabulary.types.index(_UNKNOWN)] if has_unknown else None
    has_prefix = metadata.flag("tokenizer.ggml.add_space_prefix", True)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    restore = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    prepend = [{"type": "Prepend", "prepend": _SPACE}] if has_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if has_prefix else []
    decoders = [restore, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": None,
        "post_processor": _start(metadata, vocabulary, default=True),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(vocab, _merges(pieces, vocab), unknown=unknown, byte_fallback=True),
    }


def _merges(pieces: dict[str, float], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Return the merges that build pieces in the order of their scores, best first.

    SentencePiece joins the neighbours whose piece has the best score, so each way to cut a piece in
    two other pieces is a merge. Of equal scores, the order is that of transformers' converter
    (`generate_merges`).
    """
    cuts = [
        (-score, len(piece[:cut]), ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece, score in pieces.items()
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]
    return [(left, right) for *_, left, right in sorted(cuts)]


def _bpe(
    vocab: dict[str, int],
    merges: list[tuple[str, str]],
    *,
    unknown: str | None = None,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": unknown is not None,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
    }


def _start(metadata: Metadata, vocabulary: _Vocabulary, *, default: bool) -> dict[str, Any] | None:
    """Return the step that puts BOS before a text, None if the model's texts have none."""
    key = "tokenizer.ggml.bos_token_id"
    if not metadata.has(key) or not metadata.flag("tokenizer.ggml.add_bos_token", default):
        return None
    id_ = metadata.integer(key, smallest=0)
    if id_ >= len(vocabulary.tokens):
        metadata.damaged(key)
    token = vocabulary.tokens[id_]
    bos = {"SpecialToken": {"id": token, "type_id": 0}}
    text, second = ({"Sequence": {"id": name, "type_id": int(name == "B")}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [bos, text],
        "pair": [bos, text, bos, second],
        "special_tokens": {token: {"id": token, "ids": [id_], "tokens": [token]}},
    }
