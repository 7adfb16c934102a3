"""Pieces stay whole, nothing is lost but what is too long, and only padding is no label."""

import random

import numpy as np
import pytest

from tests.training.conftest import CODE
from training.packing import PAD, Sizes, pack, pieces
from training.pretrain import _IGNORED, Plan, batches


@pytest.mark.parametrize("sizes", ["uniform", "log-uniform"])
def test_pieces_are_cut_on_lines_and_lose_nothing(sizes: Sizes) -> None:
    text = CODE * 20
    for seed in range(20):
        cut = list(pieces(text, 300, random.Random(seed), sizes))
        assert "".join(cut) == text
        assert all(piece.endswith("\n") for piece in cut)
        assert max(map(len, cut)) <= 300


def test_pieces_of_nothing() -> None:
    assert list(pieces("", 100, random.Random(0))) == []


def test_every_piece_lies_whole_in_one_row() -> None:
    rng = random.Random(0)
    # Each piece is a number of its own, repeated, so a row shows what it holds.
    made = [[n + 1] * rng.randint(1, 64) for n in range(500)]
    rows = list(pack(made, 64))
    assert {len(row) for row in rows} == {64}
    found: dict[int, int] = {}
    for row in rows:
        for id_ in set(row.tolist()) - {int(PAD)}:
            assert id_ not in found, "a piece is in two rows"
            found[id_] = int((row == id_).sum())
    assert found == {n + 1: len(ids) for n, ids in enumerate(made)}
    assert sum(found.values()) / (64 * len(rows)) > 0.9


def test_padding_is_only_at_the_end() -> None:
    for row in pack([[5] * 40, [6] * 10, [7] * 30], 64):
        padding = row == PAD
        assert not (padding[:-1] & ~padding[1:]).any()


def test_a_piece_longer_than_a_row_is_dropped() -> None:
    assert list(pack([[1] * 65], 64)) == []


@pytest.mark.parametrize("rows_per_batch", [1, 2, 4])
def test_labels_are_the_next_ids_and_padding_is_none(rows_per_batch: int) -> None:
    rows = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8)
    rows[:, 6:] = PAD
    rows[0, 0] = 0  # `<|endoftext|>` is id 0, and a label like any other
    rows[0, 3] = 0
    plan = Plan(steps=2, rows_per_step=4, rows_per_batch=rows_per_batch)
    made = list(batches(rows, 0, plan))
    inputs = np.concatenate([i.numpy() for i, _ in made])
    labels = np.concatenate([label.numpy() for _, label in made])
    assert inputs.shape == labels.shape == (4, 7)
    assert (labels[:, :5] == rows[:4, 1:6]).all()
    assert (labels[:, 5:] == _IGNORED).all()
    assert (inputs[:, :6] == rows[:4, :6]).all()
    assert (inputs[:, 6:] == 0).all()


def test_rows_are_taken_in_order_and_begin_again() -> None:
    rows = np.repeat(np.arange(6, dtype=np.uint16)[:, None], 4, axis=1)
    plan = Plan(steps=3, rows_per_step=4, rows_per_batch=4)
    seen = [batch[0][:, 0].tolist() for step in range(3) for batch in batches(rows, step, plan)]
    assert seen == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]
