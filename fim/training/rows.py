"""Training sequences of a repository: pieces of its files, most of them with a hole."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from fim.training.examples import ExampleEncoder, without_partial_token
from training.collect import CorpusDocument
from training.fim import FimOptions, hole_functions
from training.holes import LineHole
from training.packing import cut_pieces, distribute

PADDING = -1
"""Value that fills the rest of a sequence; no token has this id."""

HOLE_OPTIONS = FimOptions(rate=0.8, rest_of_line_rate=0.5)
"""Shares of holes. The order of the parts is that of completion, not one of these options."""

_HEALED_SHARE = 0.5
"""Share of holes that begin with the partial token before the cursor, as with token healing."""
_NUM_PASSES = 4
"""Number of passes over the files, each with other pieces and other holes."""
_CHARACTERS_PER_TOKEN = 2.8
"""Size of the largest piece, by the length of a sequence."""


def make_rows(
    documents: Sequence[CorpusDocument], encoder: ExampleEncoder, length: int, seed: int
) -> Tensor:
    """Return packed sequences of the documents: int64 (count, length), padded with `PADDING`.

    Raises ValueError if no text fits a sequence.
    """
    rng = random.Random(seed)
    examples = [
        encode_piece(piece, document, encoder, length, rng)
        for document in documents
        for _ in range(_NUM_PASSES)
        for piece in cut_pieces(
            document.text, int(length * _CHARACTERS_PER_TOKEN), rng, "log-uniform"
        )
        if piece.strip()
    ]
    rng.shuffle(examples)
    packed = distribute(examples, length, rng)
    if not packed:
        raise ValueError("The files contain no text that fits the model's context window.")
    rows = torch.full((len(packed), length), PADDING, dtype=torch.int64)
    for row, pieces in zip(rows, packed, strict=True):
        ids = [id_ for piece in pieces for id_ in piece]
        row[: len(ids)] = torch.tensor(ids)
    return rows


def encode_piece(
    piece: str, document: CorpusDocument, encoder: ExampleEncoder, length: int, rng: random.Random
) -> list[int]:
    """Return the ids of a piece of a document, with or without a hole; empty if they do not fit."""
    if not encoder.has_holes or rng.random() >= HOLE_OPTIONS.rate:
        return encoder.text(piece)
    kinds, shares = hole_functions(HOLE_OPTIONS)
    start, end = rng.choices(kinds, shares)[0](piece, rng)
    suffix = "" if rng.random() < HOLE_OPTIONS.empty_suffix_rate else piece[end:]
    hole = LineHole(piece[:start], piece[start:end], suffix, document.project, document.path)
    if rng.random() < _HEALED_SHARE:
        hole = without_partial_token(hole)
    return encoder.filled_hole(hole, length)
