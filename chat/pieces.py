"""A rendered dialogue as pieces of text and special tokens, and their encoding."""

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
    is_special: bool = False
    """Whether `text` is the name of a special token."""
    has_loss: bool = False
    """Whether the assistant wrote the piece, so that fine-tuning computes its loss on it."""


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """The token ids of a dialogue."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    """Whether fine-tuning computes its loss on an id, for each of `ids`."""


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer) -> EncodedDialogue:
    """Return the ids of pieces. Text never becomes a special token, whatever it contains.

    Raises UnsupportedModelError for a special token that the tokenizer does not have.
    """
    ids: list[int] = []
    starts = ((), tokenizer.start_ids)
    loss_mask: list[bool] = []
    for piece in pieces:
        if piece.is_special:
            piece_ids = [_special_id(piece.text, tokenizer)]
        elif len(ids) <= len(starts[1]) and tuple(ids) in starts:
            piece_ids = tokenizer.encode_start(piece.text)
        else:
            piece_ids = tokenizer.encode(piece.text)
        ids += piece_ids
        loss_mask += [piece.has_loss] * len(piece_ids)
    return EncodedDialogue(tuple(ids), tuple(loss_mask))


def _special_id(name: str, tokenizer: Tokenizer) -> int:
    id_ = tokenizer.special_id(name)
    if id_ is None:
        raise UnsupportedModelError(
            f"The model's tokenizer has no token {name}. Choose another chatFormat or model."
        )
    return id_
