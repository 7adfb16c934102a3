"""A run that is taken up again ends where an uninterrupted one ends."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from training.model import Shape, build
from training.packing import PAD, Rows
from training.pretrain import OPENING, Part, Plan, Run, label_weights, learning_rate_factor, train

FAST = ((-1, 0.0), (1, 1.0), (6, 0.5))
SHAPE = Shape(width=64, layers=2, positions=32, vocab_size=64)
PLAN = Plan(steps=6, rows_per_step=4, rows_per_batch=2, schedule=FAST)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def rows() -> Rows:
    made = np.random.default_rng(0).integers(0, 64, (10, 32)).astype(np.uint16)
    made[::3, 20:] = PAD
    return made


def weights(run: Run) -> dict[str, torch.Tensor]:
    return dict(run.model.state_dict())


def test_six_steps_equal_three_and_three_after_a_reload(rows: Rows, tmp_path: Path) -> None:
    # Stopped in the first part, one step before the second begins.
    parts = [Part(rows, 4), Part(rows[::-1], 6, middle_weight=3.0)]
    whole, first, second = (Run(SHAPE, PLAN, parts) for _ in range(3))
    losses = [whole.advance() for _ in range(6)]
    before = [first.advance() for _ in range(3)]
    first.save(tmp_path / "checkpoint.pt")
    for parameter in second.model.parameters():
        parameter.data.zero_()  # nothing of the second run's own start may be left
    second.load(tmp_path / "checkpoint.pt")
    after = [second.advance() for _ in range(3)]
    assert before + after == losses
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(second)[name]), name


def test_a_run_learns(rows: Rows) -> None:
    plan = Plan(steps=30, rows_per_step=4, rows_per_batch=4, schedule=FAST)
    run = Run(SHAPE, plan, [Part(rows[:4], 30)])
    losses = [run.advance() for _ in range(30)]
    assert losses[-1] < losses[0] - 0.5


def test_the_batch_size_in_memory_changes_nothing_but_rounding(rows: Rows) -> None:
    sizes = [Plan(steps=6, rows_per_step=4, rows_per_batch=n, schedule=FAST) for n in (1, 4)]
    one, four = (Run(SHAPE, plan, [Part(rows, 6)]).advance() for plan in sizes)
    assert one == pytest.approx(four, rel=1e-3)


def test_a_checkpoint_of_another_plan_is_refused(rows: Rows, tmp_path: Path) -> None:
    Run(SHAPE, PLAN, [Part(rows, 6)]).save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="another run"):
        Run(SHAPE, Plan(steps=7, schedule=FAST), [Part(rows, 7)]).load(tmp_path / "checkpoint.pt")


def test_a_save_that_fails_leaves_the_checkpoint_before(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = Run(SHAPE, PLAN, [Part(rows, 6)]), tmp_path / "checkpoint.pt"
    run.save(file)
    before = file.read_bytes()

    def half(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        run.save(file)
    assert file.read_bytes() == before


def test_the_log_has_each_step_once_after_an_interruption(rows: Rows, tmp_path: Path) -> None:
    checkpoint, log = tmp_path / "checkpoint.pt", tmp_path / "loss.jsonl"
    first = Run(SHAPE, PLAN, [Part(rows, 6)])
    for _ in range(3):
        first.advance()
    first.save(checkpoint)
    # Steps 4 and 5 were logged, then the machine went down before the next checkpoint.
    lines = [{"step": n, "loss": 1.0, "seconds": float(n)} for n in range(1, 6)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(Run(SHAPE, PLAN, [Part(rows, 6)]), checkpoint, log, say=lambda _: None)
    made = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in made] == [1, 2, 3, 4, 5, 6]
    assert made[-1]["seconds"] >= 3.0


def test_only_the_middle_weighs_more_and_padding_nothing() -> None:
    end, prefix, middle, suffix = 0, 1, 2, 3
    ids = [
        prefix,
        30,
        suffix,
        31,
        middle,
        32,
        33,
        end,
        40,
        41,
        end,
        prefix,
        suffix,
        middle,
        50,
        end,
    ]
    inputs, labels = torch.tensor([[*ids[:-1], 0]]), torch.tensor([[*ids[1:], -100]])
    part = Part(np.empty((0, 0), np.uint16), 1, middle_weight=3.0, opening_weight=3.0)
    found = label_weights(inputs, labels, part)[0].tolist()
    # By label: 32, 33, end of the first; 50, end of the last. Then padding.
    assert found == [1, 1, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 3, 3, 0]


def test_the_opening_of_a_middle_weighs_by_itself() -> None:
    inputs = torch.tensor([[1, 30, 3, 31, 2, *range(40, 48), 0, 50]])
    labels = torch.cat([inputs[:, 1:], torch.tensor([[51]])], 1)
    part = Part(np.empty((0, 0), np.uint16), 1, middle_weight=2.0, opening_weight=6.0)
    found = label_weights(inputs, labels, part)[0].tolist()
    # The first OPENING labels of the middle, its rest with `<|endoftext|>`, what comes after.
    assert found == [1] * 4 + [6] * OPENING + [2] * 5 + [1] * 2


def test_the_learning_rate_follows_its_schedule() -> None:
    plan = Plan(steps=1000, schedule=((-1, 0.0), (99, 1.0), (600, 1.0), (1000, 0.0)))
    factors = [learning_rate_factor(step, plan) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert set(factors[100:600]) == {1.0}
    assert factors[800] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.01


def test_two_processes_make_the_step_of_one(corpus: Path, tmp_path: Path) -> None:
    """`accelerate launch` on two processes: the same weights, but for the order of sums."""
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        shutil.copytree(corpus, folder)
        launcher = [
            "accelerate.commands.launch",
            "--cpu",
            "--num_processes",
            str(processes),
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--main_process_port",
            "0",
            "-m",
        ]
        command = [
            sys.executable,
            "-m",
            *launcher,
            "training",
            "pretrain",
            "--folder",
            str(folder),
            "--steps",
            "6",
            "--length",
            "128",
            "--threads",
            "1",
            "--cpu",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert len((folder / "loss.jsonl").read_text().splitlines()) == 6
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        weights.append(torch.cat([tensor.flatten() for tensor in state["model"].values()]))
    torch.manual_seed(0)
    begun = torch.cat([t.flatten() for t in build(Shape(**state["shape"])).state_dict().values()])
    moved, apart = (weights[0] - begun).norm(), (weights[0] - weights[1]).norm()
    assert apart < 0.1 * moved, (apart, moved)
