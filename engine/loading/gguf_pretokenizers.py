"""How the tokenizers of GGUF files split text before byte-level BPE, by `tokenizer.ggml.pre`.

The names are those of src/llama-vocab.cpp in llama.cpp. The steps are those of the models' own
tokenizer.json, from which llama.cpp derives its expressions.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from engine.errors import UnsupportedModelError

_log = logging.getLogger(__name__)

Step = dict[str, Any]
"""A pre-tokenizer in tokenizer.json."""

_DIGITS: Step = {"type": "Digits", "individual_digits": True}
_BYTES: Step = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}
_GPT2 = _BYTES | {"use_regex": True}
"""GPT-2's expression, which is built into the library, and bytes."""


def _split(pattern: str) -> Step:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _words(digits: str, symbols_tail: str = r"[\r\n]*", symbol: str = r"[^\s\p{L}\p{N}]") -> Step:
    """Return the expression of GPT-4 and its descendants, which differ in the length of numbers."""
    return _split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + rf"| ?{symbol}+{symbols_tail}|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CJK = _split(r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+")
# DeepSeek lists the letters that have case; these properties and exceptions give the same ones.
_DEEPSEEK_LETTERS = _split(
    r"\s?[\p{Lu}\p{Ll}\p{Lt}&&[^\x{2D00}-\x{2D2D}\x{A790}-\x{AB6F}\x{10570}-\x{105BC}"
    r"\x{16E40}-\x{16E7F}\x{1D400}-\x{1D7FF}\x{1DF00}-\x{1DF1E}]]+"
)
_DEEPSEEK_SYMBOLS = _split(
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"
)

_STARCODER = (_DIGITS, _GPT2)
_DEEPSEEK_CODER = (
    _split(r"[\r\n]"), _split(r"\s?\p{L}+"), _split(r"\s?\p{P}+"), _CJK, _DIGITS, _BYTES,
)  # fmt: skip
_DEEPSEEK_LLM = (
    _split(r"[\r\n]"),
    _DEEPSEEK_LETTERS,
    _DEEPSEEK_SYMBOLS,
    _split(r"\s+$"),
    _CJK,
    _DIGITS,
    _BYTES,
)
_LLAMA3 = (_words(r"\p{N}{1,3}"), _BYTES)
_QWEN2 = (_words(r"\p{N}"), _BYTES)
_SEED_CODER = (_words(r"\p{N}{1}", symbols_tail="", symbol=r"[^\s\p{L}\p{N}\r\n]"), _BYTES)
_DEFAULT = (
    _split(r"[\p{P}\$\+<=>\^~\|]+"),
    _split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
    _split(r"\p{N}+"),
    _split(r"[0-9][0-9][0-9]"),
    _BYTES,
)

_STEPS: dict[str, tuple[Step, ...]] = {
    "default": _DEFAULT,
    **dict.fromkeys(("starcoder", "refact", "smollm", "command-r", "codeshell"), _STARCODER),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "mellum", "granite-docling"), (_GPT2,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), _QWEN2),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe"), _LLAMA3),
    "deepseek-coder": _DEEPSEEK_CODER,
    "deepseek-llm": _DEEPSEEK_LLM,
    "tekken": (_split(_TEKKEN), _BYTES),
    "seed-coder": _SEED_CODER,
}
WHOLE_WORDS = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken"})
"""Names of tokenizers that take a word as one token if it is one, without merging."""
NFC = frozenset({"qwen2"})
"""Names of tokenizers that normalize text to Unicode's form C first."""
_STARTS = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken"})

_BY_ARCHITECTURE = {
    "starcoder": "starcoder",
    "starcoder2": "starcoder",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
    "granite": "refact",
}
_BY_TOKEN = {
    "<｜fim▁begin｜>": "deepseek-coder",
    "<fim_prefix>": "starcoder",
    "<|begin_of_text|>": "llama-bpe",
}


def pre_tokenizer_name(name: str, architecture: str, tokens: Collection[str], source: str) -> str:
    """Return the name of a supported pre-tokenizer.

    Old files have no name, or `default`: then architecture and tokens show which model it is.
    Raises UnsupportedModelError for an unknown name, because text that is split differently gives
    bad output without any error.
    """
    if name not in ("", "default"):
        if name in _STEPS:
            return name
        raise UnsupportedModelError(
            f"{source} splits text by the rules {name[:40]!r}, which are not supported. Use the "
            "model's safetensors, or another model."
        )
    inferred = _BY_ARCHITECTURE.get(architecture) or next(
        (each for token, each in _BY_TOKEN.items() if token in tokens), "default"
    )
    _log.warning("The GGUF file does not say how to split text; the rules of %s are used", inferred)
    return inferred


def pre_tokenizer(name: str) -> Step:
    """Return the pre-tokenizer with a name that `pre_tokenizer_name` has returned."""
    steps = _STEPS[name]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": list(steps)}


def starts_with_bos(name: str) -> bool:
    """Return whether texts start with the BOS token unless the file says otherwise."""
    return name in _STARTS
