"""Packing keeps pieces whole and drops only too long ones; only padding has no label."""

import random

import numpy as np
import pytest
import torch

from tests.training.conftest import CODE
from training.labels import IGNORED_LABEL, inputs_and_labels
from training.packing import PAD, SizeDistribution, cut_pieces, pack


@pytest.mark.parametrize("sizes", ["uniform", "log-uniform"])
def test_pieces_are_cut_at_line_ends_and_lose_nothing(sizes: SizeDistribution) -> None:
    text = CODE * 20
    for seed in range(20):
        pieces = list(cut_pieces(text, 300, random.Random(seed), sizes))
        assert "".join(pieces) == text
        assert all(piece.endswith("\n") for piece in pieces)
        assert max(map(len, pieces)) <= 300


def test_an_empty_text_has_no_pieces() -> None:
    assert list(cut_pieces("", 100, random.Random(0))) == []


def test_every_piece_is_whole_in_one_row() -> None:
    rng = random.Random(0)
    # Each piece repeats its own number, so a row shows which pieces it contains.
    pieces = [[n + 1] * rng.randint(1, 64) for n in range(500)]
    rows = pack(pieces, 64, rng)
    assert {len(row) for row in rows} == {64}
    lengths: dict[int, int] = {}
    for row in rows:
        for id_ in set(row.tolist()) - {int(PAD)}:
            assert id_ not in lengths, "a piece is in two rows"
            lengths[id_] = int((row == id_).sum())
    assert lengths == {n + 1: len(ids) for n, ids in enumerate(pieces)}
    assert sum(lengths.values()) / (64 * len(rows)) > 0.98


def test_padding_is_only_at_the_end() -> None:
    for row in pack([[5] * 40, [6] * 10, [7] * 30], 64, random.Random(0)):
        padding = row == PAD
        assert not (padding[:-1] & ~padding[1:]).any()


def test_a_piece_longer_than_a_row_is_dropped() -> None:
    assert pack([[1] * 65], 64, random.Random(0)) == []


def test_labels_are_the_next_ids_and_padding_has_none() -> None:
    rows = np.arange(4 * 8, dtype=np.uint16).reshape(4, 8) + 40000
    rows[:, 6:] = PAD
    rows[0, 0] = 0  # `<|endoftext|>` is id 0, and a label like any other
    rows[0, 3] = 0
    inputs, labels = inputs_and_labels(torch.from_numpy(rows.view(np.int16)))
    assert inputs.shape == labels.shape == (4, 8)
    assert (labels[:, :5].numpy() == rows[:, 1:6]).all()
    assert (labels[:, 5:] == IGNORED_LABEL).all()
    assert (inputs[:, :6].numpy() == rows[:, :6]).all()
    assert (inputs[:, 6:] == 0).all()
