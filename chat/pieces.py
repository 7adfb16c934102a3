"""A dialogue in pieces: what is a special token, what is text, what the model is to learn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import UnsupportedModelError
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a rendered dialogue."""

    text: str
    """Plain text, or the name of a special token."""
    special: bool = False
    learned: bool = False
    """Whether the assistant wrote it: what fine-tuning computes its loss on."""


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """Ids, and for each whether it is learned."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer) -> EncodedDialogue:
    """Return the ids of pieces; text is encoded with special tokens off, whatever it spells.

    Raises UnsupportedModelError for a special token that the tokenizer does not have.
    """
    ids: list[int] = []
    learned: list[bool] = []
    for piece in pieces:
        made = [_special(piece.text, tokenizer)] if piece.special else tokenizer.encode(piece.text)
        ids += made
        learned += [piece.learned] * len(made)
    return EncodedDialogue(tuple(ids), tuple(learned))


def _special(name: str, tokenizer: Tokenizer) -> int:
    id_ = tokenizer.special_id(name)
    if id_ is None:
        raise UnsupportedModelError(f"The model's tokenizer has no token {name}.")
    return id_
