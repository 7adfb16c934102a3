"""The names of the special tokens for fill-in-the-middle, and the order of the parts, as data.

| family | source |
|---|---|
| StarCoder, StarCoder2 | Li et al. 2023, arXiv:2305.06161; Lozhkov et al. 2024, arXiv:2402.19173 |
| SantaCoder | Ben Allal et al. 2023, arXiv:2301.03988 |
| Code Llama | Rozière et al. 2023, arXiv:2308.12950, section 2.3 |
| DeepSeek-Coder | Guo et al. 2024, arXiv:2401.14196; its hole token marks the place of the middle |
| Qwen-Coder | Hui et al. 2024, arXiv:2409.12186 |
| Seed-Coder | Zhang et al. 2025, arXiv:2506.03524 |
| Mellum | model card of JetBrains/Mellum-4b-base |
| CodeGemma | Zhao et al. 2024, arXiv:2406.11409 |
| Granite 4 | documentation of IBM Granite, prompt engineering guide |
| Codestral | `encode_fim` of mistral-common |

Granite-Code and Stable-Code have StarCoder's tokens and order, so they are of that family.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Order(StrEnum):
    """The order in which a prompt has the parts of the text around the cursor."""

    PREFIX_FIRST = "prefix-suffix-middle"
    """PSM: prefix token, prefix, suffix token, suffix, middle token."""
    SUFFIX_FIRST = "suffix-prefix-middle"
    """Suffix token, suffix, prefix token, prefix, middle token."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """The names of a family's tokens. An empty name means that the family has no such token."""

    name: str
    prefix: str
    suffix: str
    middle: str = ""
    """Token after which the model generates; if empty, it continues the prefix."""
    order: Order = Order.PREFIX_FIRST
    start: str = ""
    """Token at the start of a prompt."""
    has_spm: bool = False
    """Whether the family was also trained with StarCoder's SPM, see `fim.prompt.families`."""
    end: str = ""
    """Token that ends a middle, if it is not the one that ends a text."""
    marker: str = ""
    """A token that distinguishes this family from others with the same token names."""
    repository: str = ""
    file: str = ""


_STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
_QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")

SPELLINGS = (
    Spelling(
        "StarCoder2",
        *_STARCODER,
        has_spm=True,
        marker="<file_sep>",
        repository="<repo_name>",
        file="<file_sep>",
    ),
    Spelling(
        "Mellum",
        *_STARCODER,
        order=Order.SUFFIX_FIRST,
        marker="</assistant>",  # StarCoder has no tokens for dialogues
        repository="<reponame>",
        file="<filename>",
    ),
    Spelling("StarCoder", *_STARCODER, has_spm=True, repository="<reponame>", file="<filename>"),
    Spelling("SantaCoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>", has_spm=True),
    Spelling(
        "CodeGemma",
        *_QWEN,
        start="<bos>",
        marker="<|file_separator|>",  # between two files; nothing says what precedes the first
    ),
    Spelling("Granite 4", *_QWEN, marker="<|start_of_role|>"),
    Spelling("Qwen-Coder", *_QWEN, repository="<|repo_name|>", file="<|file_sep|>"),
    Spelling(
        "DeepSeek-Coder",
        "<｜fim▁begin｜>",
        "<｜fim▁hole｜>",
        "<｜fim▁end｜>",
        start="<｜begin▁of▁sentence｜>",
    ),
    Spelling("Code Llama", "▁<PRE>", "▁<SUF>", "▁<MID>", start="<s>", has_spm=True, end="▁<EOT>"),
    Spelling(
        "Seed-Coder",
        "<[fim-prefix]>",
        "<[fim-suffix]>",
        "<[fim-middle]>",
        order=Order.SUFFIX_FIRST,
    ),
    Spelling("Codestral", "[PREFIX]", "[SUFFIX]", order=Order.SUFFIX_FIRST, start="<s>"),
)
"""All families. The first one whose tokens a tokenizer has is the model's."""

FILES_WITHOUT_FIM = (("<file_sep>", "<repo_name>"), ("<|file_sep|>", "<|repo_name|>"))
"""The tokens before a file and before a repository, for models without fill-in-the-middle.

SmolLM2 has those of StarCoder2, whose training data its code comes from (Allal et al. 2025,
arXiv:2502.02737).
"""

TEXT_ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<[end▁of▁sentence]>",
    "<|im_end|>",
)
"""Tokens that end a text in training. The first one that a tokenizer has is the model's."""

END_NAMES = (
    *TEXT_ENDS,
    "▁<EOT>",
    "<|EOT|>",
    "<fim_pad>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<filename>",
    "<reponame>",
    "<file_sep>",
    "<repo_name>",
    "<|file_sep|>",
    "<|repo_name|>",
    "<|file_separator|>",
    "<|filename|>",
    "<|reponame|>",
    "<gh_stars>",
    "<commit_before>",
    "<jupyter_start>",
    "<jupyter_code>",
    "<jupyter_text>",
    "<jupyter_output>",
    "<empty_output>",
    "<issue_start>",
)
"""Tokens after which a model begins another text; each model has some of them."""
