"""The special tokens for fill-in-the-middle of each model family. All families support PSM order.

| family | source |
|---|---|
| StarCoder, StarCoder2 | Li et al. 2023, arXiv:2305.06161; Lozhkov et al. 2024, arXiv:2402.19173 |
| SantaCoder | Ben Allal et al. 2023, arXiv:2301.03988 |
| Code Llama | Rozière et al. 2023, arXiv:2308.12950 |
| DeepSeek-Coder | Guo et al. 2024, arXiv:2401.14196; its hole token marks the place of the middle |
| Qwen-Coder | Hui et al. 2024, arXiv:2409.12186 |
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import UnsupportedModelError
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class NotebookIds:
    """StarCoder's special tokens for the cells of a notebook (Li et al. 2023, arXiv:2305.06161)."""

    start: int
    code: int
    text: int
    empty_output: int


@dataclass(frozen=True, slots=True)
class FileIds:
    """Special tokens for the files of a repository: a path and a line feed follow `file`."""

    file: int
    repository: int | None = None


@dataclass(frozen=True, slots=True)
class FimFamily:
    """Token ids around prefix, suffix and middle, and the ids that end the middle."""

    name: str
    start: tuple[int, ...]
    """Ids at the start of the prompt: begin-of-text if the family was trained with it."""
    prefix: int
    suffix: int
    middle: int
    stop_ids: frozenset[int]
    suffix_first: bool = False
    """Whether the family was also trained with the suffix first, as in StarCoder's SPM."""
    notebook: NotebookIds | None = None
    """Special tokens for notebooks, None if the family has none."""
    files: FileIds | None = None
    """Special tokens for files, None if the family has none."""


@dataclass(frozen=True, slots=True)
class _Spelling:
    name: str
    prefix: str
    suffix: str
    middle: str
    marker: str = ""
    """A token that distinguishes this family from others with the same token names."""
    start: str = ""
    suffix_first: bool = False
    repository: str = ""
    file: str = ""


_SPELLINGS = (
    _Spelling(
        "StarCoder2",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        marker="<file_sep>",
        suffix_first=True,
        repository="<repo_name>",
        file="<file_sep>",
    ),
    _Spelling(
        "StarCoder",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        suffix_first=True,
        repository="<reponame>",
        file="<filename>",
    ),
    _Spelling("SantaCoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>", suffix_first=True),
    _Spelling(
        "Qwen-Coder",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        repository="<|repo_name|>",
        file="<|file_sep|>",
    ),
    _Spelling(
        "DeepSeek-Coder",
        "<｜fim▁begin｜>",
        "<｜fim▁hole｜>",
        "<｜fim▁end｜>",
        start="<｜begin▁of▁sentence｜>",
    ),
    _Spelling("Code Llama", "▁<PRE>", "▁<SUF>", "▁<MID>", start="<s>"),
)

_ENDS = (
    "<|endoftext|>",
    "</s>",
    "▁<EOT>",
    "<｜end▁of▁sentence｜>",
    "<|im_end|>",
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


def detect(tokenizer: Tokenizer) -> FimFamily:
    """Return the family of a model, derived from the special tokens of its tokenizer.

    Raises UnsupportedModelError for a model that was not trained for fill-in-the-middle.
    """
    for spelling in _SPELLINGS:
        ids = [tokenizer.token_id(t) for t in (spelling.prefix, spelling.suffix, spelling.middle)]
        present = [token_id for token_id in ids if token_id is not None]
        if len(present) < 3 or (spelling.marker and tokenizer.token_id(spelling.marker) is None):
            continue
        prefix, suffix, middle = present
        start = tokenizer.token_id(spelling.start) if spelling.start else None
        end_ids = (tokenizer.token_id(name) for name in _ENDS)
        ends = {token_id for token_id in end_ids if token_id is not None}
        return FimFamily(
            name=spelling.name,
            start=() if start is None else (start,),
            prefix=prefix,
            suffix=suffix,
            middle=middle,
            stop_ids=frozenset({*ends, *present}),
            suffix_first=spelling.suffix_first,
            notebook=_notebook(tokenizer),
            files=_files(tokenizer, spelling),
        )
    raise UnsupportedModelError(
        "This model cannot complete code: its tokenizer has no fill-in-the-middle tokens. Use a "
        "base model such as bigcode/starcoderbase-1b."
    )


def _files(tokenizer: Tokenizer, spelling: _Spelling) -> FileIds | None:
    file = tokenizer.token_id(spelling.file)
    return None if file is None else FileIds(file, tokenizer.token_id(spelling.repository))


def _notebook(tokenizer: Tokenizer) -> NotebookIds | None:
    names = ("<jupyter_start>", "<jupyter_code>", "<jupyter_text>", "<empty_output>")
    ids = [tokenizer.token_id(name) for name in names]
    present = [token_id for token_id in ids if token_id is not None]
    return NotebookIds(*present) if len(present) == len(names) else None
