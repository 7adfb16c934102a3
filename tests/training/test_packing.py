"""Packing keeps pieces whole and drops only too long ones; only padding has no label."""

import random

import numpy as np
import pytest

from tests.training.conftest import CODE
from training.labels import IGNORED_LABEL, step_batches
from training.packing import PAD, SizeDistribution, cut_pieces, pack
from training.plan import TrainingPlan


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
    rows = list(pack(pieces, 64))
    assert {len(row) for row in rows} == {64}
    lengths: dict[int, int] = {}
    for row in rows:
        for id_ in set(row.tolist()) - {int(PAD)}:
            assert id_ not in lengths, "a piece is in two rows"
            lengths[id_] = int((row == id_).sum())
    assert lengths == {n + 1: len(ids) for n, ids in enumerate(pieces)}
    assert sum(lengths.values()) / (64 * len(rows)) > 0.9


def test_padding_is_only_at_the_end() -> None:
    for row in pack([[5] * 40, [6] * 10, [7] * 30], 64):
        padding = row == PAD
        assert not (padding[:-1] & ~padding[1:]).any()


def test_a_piece_longer_than_a_row_is_dropped() -> None:
    assert list(pack([[1] * 65], 64)) == []


@pytest.mark.parametrize("rows_per_batch", [1, 2, 4])
def test_labels_are_the_next_ids_and_padding_has_none(rows_per_batch: int) -> None:
    rows = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8)
    rows[:, 6:] = PAD
    rows[0, 0] = 0  # `<|endoftext|>` is id 0, and a label like any other
    rows[0, 3] = 0
    plan = TrainingPlan(steps=2, rows_per_step=4, rows_per_batch=rows_per_batch)
    batches = list(step_batches(rows, 0, plan))
    inputs = np.concatenate([i.numpy() for i, _ in batches])
    labels = np.concatenate([label.numpy() for _, label in batches])
    assert inputs.shape == labels.shape == (4, 7)
    assert (labels[:, :5] == rows[:4, 1:6]).all()
    assert (labels[:, 5:] == IGNORED_LABEL).all()
    assert (inputs[:, :6] == rows[:4, :6]).all()
    assert (inputs[:, 6:] == 0).all()


def test_rows_are_taken_in_order_and_start_again_at_the_end() -> None:
    rows = np.repeat(np.arange(6, dtype=np.uint16)[:, None], 4, axis=1)
    plan = TrainingPlan(steps=3, rows_per_step=4, rows_per_batch=4)
    seen = [
        batch[0][:, 0].tolist() for step in range(3) for batch in step_batches(rows, step, plan)
    ]
    assert seen == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]
