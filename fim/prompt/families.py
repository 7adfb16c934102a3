"""The special tokens with which a model was trained for fill-in-the-middle, as token ids.

The names of the tokens, and their sources, are in `fim.prompt.spellings`. A model without such
tokens completes left to right: its prompt is the text before the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.tokenizer import Tokenizer
from fim.prompt.spellings import (
    END_NAMES,
    FILES_WITHOUT_FIM,
    SPELLINGS,
    TEXT_ENDS,
    Order,
    Spelling,
)

LEFT_TO_RIGHT = "left to right"
"""Name of the family of all models without tokens for fill-in-the-middle."""


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
class FimIds:
    """Token ids before prefix, suffix and middle, and the orders of these parts."""

    prefix: int
    suffix: int
    middle: int | None
    """Id before the middle; None if the model continues the prefix without such a token."""
    order: Order = Order.PREFIX_FIRST
    has_spm: bool = False
    """Whether the family was also trained with StarCoder's SPM (Bavarian et al. 2022,
    arXiv:2207.14255, variant 2): the suffix first, and the prefix after the middle's id."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids, each of which a prompt has exactly once."""
        middle = () if self.middle is None else (self.middle,)
        return (self.prefix, self.suffix, *middle)


@dataclass(frozen=True, slots=True)
class FimFamily:
    """The token ids around the text of a prompt, and the ids that end the output."""

    name: str
    start: tuple[int, ...]
    """Ids at the start of the prompt, such as begin-of-text."""
    fim: FimIds | None
    """Ids for fill-in-the-middle; None if the model has none and completes left to right."""
    stop_ids: frozenset[int]
    text_end: int | None = None
    """Id that ends a text in training, None if the tokenizer has none of the usual tokens."""
    middle_end: int | None = None
    """Id that ends a middle in training, None as for `text_end`."""
    notebook: NotebookIds | None = None
    """Special tokens for notebooks, None if the family has none."""
    files: FileIds | None = None
    """Special tokens for files, None if the family has none."""

    @property
    def note(self) -> str:
        """A sentence for the user on what the model cannot do; empty if there is none."""
        if self.fim is not None:
            return ""
        return (
            "This model has no fill-in-the-middle tokens, so it completes left to right and does "
            "not see the text after the cursor."
        )


def detect(tokenizer: Tokenizer) -> FimFamily:
    """Return the family of a model, derived from the special tokens of its tokenizer."""
    for spelling in SPELLINGS:
        fim = _fim_ids(tokenizer, spelling)
        if fim is not None:
            return _family(tokenizer, spelling, fim)
    return FimFamily(
        name=LEFT_TO_RIGHT,
        start=tokenizer.start_ids,
        fim=None,
        stop_ids=frozenset(_known_ids(tokenizer, END_NAMES)),
        text_end=_first_id(tokenizer, TEXT_ENDS),
        notebook=_notebook(tokenizer),
        files=next(filter(None, (_files(tokenizer, *names) for names in FILES_WITHOUT_FIM)), None),
    )


def _fim_ids(tokenizer: Tokenizer, spelling: Spelling) -> FimIds | None:
    """Return the ids of a family's tokens, None if the tokenizer does not have all of them."""
    needed = (spelling.prefix, spelling.suffix, spelling.middle, spelling.marker)
    if any(name and tokenizer.token_id(name) is None for name in needed):
        return None
    prefix, suffix, *middle = _known_ids(tokenizer, needed[:3])
    return FimIds(prefix, suffix, middle[0] if middle else None, spelling.order, spelling.has_spm)


def _family(tokenizer: Tokenizer, spelling: Spelling, fim: FimIds) -> FimFamily:
    named_start = _known_ids(tokenizer, (spelling.start,))
    return FimFamily(
        name=spelling.name,
        start=tuple(named_start) or tokenizer.start_ids,
        fim=fim,
        stop_ids=frozenset({*_known_ids(tokenizer, END_NAMES), *fim.ids}),
        text_end=_first_id(tokenizer, TEXT_ENDS),
        middle_end=_first_id(tokenizer, (spelling.end, *TEXT_ENDS)),
        notebook=_notebook(tokenizer),
        files=_files(tokenizer, spelling.file, spelling.repository),
    )


def _known_ids(tokenizer: Tokenizer, names: Iterable[str]) -> list[int]:
    """Return the ids of the tokens that the tokenizer has, in the order of their names."""
    ids = (tokenizer.token_id(name) for name in names if name)
    return [id_ for id_ in ids if id_ is not None]


def _first_id(tokenizer: Tokenizer, names: Iterable[str]) -> int | None:
    return next(iter(_known_ids(tokenizer, names)), None)


def _files(tokenizer: Tokenizer, file_name: str, repository_name: str) -> FileIds | None:
    file = tokenizer.token_id(file_name) if file_name else None
    return None if file is None else FileIds(file, tokenizer.token_id(repository_name))


def _notebook(tokenizer: Tokenizer) -> NotebookIds | None:
    names = ("<jupyter_start>", "<jupyter_code>", "<jupyter_text>", "<empty_output>")
    ids = _known_ids(tokenizer, names)
    return NotebookIds(*ids) if len(ids) == len(names) else None
