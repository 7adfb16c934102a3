"""A resumed run has the same result as an uninterrupted one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from training.labels import NUM_OPENING_TOKENS, StageData, label_weights
from training.model import ModelShape, build_model
from training.packing import PAD, Rows
from training.plan import TrainingPlan, learning_rate_factor
from training.pretrain import TrainingRun, train

FAST = ((-1, 0.0), (1, 1.0), (6, 0.5))
SHAPE = ModelShape(width=64, layers=2, positions=32, vocab_size=64)
PLAN = TrainingPlan(steps=6, rows_per_step=4, rows_per_batch=2, schedule=FAST)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def rows() -> Rows:
    sequences = np.random.default_rng(0).integers(0, 64, (10, 32)).astype(np.uint16)
    sequences[::3, 20:] = PAD
    return sequences


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    return dict(run.model.state_dict())


def test_six_steps_equal_three_and_three_after_a_reload(rows: Rows, tmp_path: Path) -> None:
    # The run is stopped in the first stage, one step before the second one starts.
    stages = [StageData(rows, 4), StageData(rows[::-1], 6, middle_weight=3.0)]
    whole, first, second = (TrainingRun(SHAPE, PLAN, stages) for _ in range(3))
    losses = [whole.advance() for _ in range(6)]
    before = [first.advance() for _ in range(3)]
    first.save(tmp_path / "checkpoint.pt")
    for parameter in second.model.parameters():
        parameter.data.zero_()  # the second run must not use its own initial weights
    second.load(tmp_path / "checkpoint.pt")
    after = [second.advance() for _ in range(3)]
    assert before + after == losses
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(second)[name]), name


def test_a_run_decreases_the_loss(rows: Rows) -> None:
    plan = TrainingPlan(steps=30, rows_per_step=4, rows_per_batch=4, schedule=FAST)
    run = TrainingRun(SHAPE, plan, [StageData(rows[:4], 30)])
    losses = [run.advance() for _ in range(30)]
    assert losses[-1] < losses[0] - 0.5


def test_the_batch_size_in_memory_changes_only_rounding(rows: Rows) -> None:
    plans = [
        TrainingPlan(steps=6, rows_per_step=4, rows_per_batch=n, schedule=FAST) for n in (1, 4)
    ]
    single, batched = (TrainingRun(SHAPE, plan, [StageData(rows, 6)]).advance() for plan in plans)
    assert single == pytest.approx(batched, rel=1e-3)


def test_a_checkpoint_of_another_plan_is_refused(rows: Rows, tmp_path: Path) -> None:
    TrainingRun(SHAPE, PLAN, [StageData(rows, 6)]).save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="another run"):
        TrainingRun(SHAPE, TrainingPlan(steps=7, schedule=FAST), [StageData(rows, 7)]).load(
            tmp_path / "checkpoint.pt"
        )


def test_a_failed_save_keeps_the_previous_checkpoint(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = TrainingRun(SHAPE, PLAN, [StageData(rows, 6)]), tmp_path / "checkpoint.pt"
    run.save(file)
    before = file.read_bytes()

    def write_half(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(OSError, match="disk full"):
        run.save(file)
    assert file.read_bytes() == before


def test_after_an_interruption_the_log_contains_each_step_once(rows: Rows, tmp_path: Path) -> None:
    checkpoint, log = tmp_path / "checkpoint.pt", tmp_path / "loss.jsonl"
    first = TrainingRun(SHAPE, PLAN, [StageData(rows, 6)])
    for _ in range(3):
        first.advance()
    first.save(checkpoint)
    # Steps 4 and 5 were logged, but the machine failed before the next checkpoint.
    lines = [{"step": n, "loss": 1.0, "seconds": float(n)} for n in range(1, 6)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(TrainingRun(SHAPE, PLAN, [StageData(rows, 6)]), checkpoint, log, say=lambda _: None)
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert logged[-1]["seconds"] >= 3.0


def test_only_the_middle_has_more_weight_and_padding_has_none() -> None:
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
    data = StageData(np.empty((0, 0), np.uint16), 1, middle_weight=3.0, opening_weight=3.0)
    weights = label_weights(inputs, labels, data)[0].tolist()
    # The labels 32, 33 and the end of the first document, 50 and the end of the last; then padding.
    assert weights == [1, 1, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 3, 3, 0]


def test_the_opening_of_a_middle_has_its_own_weight() -> None:
    inputs = torch.tensor([[1, 30, 3, 31, 2, *range(40, 48), 0, 50]])
    labels = torch.cat([inputs[:, 1:], torch.tensor([[51]])], 1)
    data = StageData(np.empty((0, 0), np.uint16), 1, middle_weight=2.0, opening_weight=6.0)
    weights = label_weights(inputs, labels, data)[0].tolist()
    # The opening labels of the middle, its rest with `<|endoftext|>`, and the text after it.
    assert weights == [1] * 4 + [6] * NUM_OPENING_TOKENS + [2] * 5 + [1] * 2


def test_the_learning_rate_follows_its_schedule() -> None:
    plan = TrainingPlan(steps=1000, schedule=((-1, 0.0), (99, 1.0), (600, 1.0), (1000, 0.0)))
    factors = [learning_rate_factor(step, plan) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert set(factors[100:600]) == {1.0}
    assert factors[800] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.01


def test_two_processes_compute_the_same_steps_as_one(corpus: Path, tmp_path: Path) -> None:
    """`accelerate launch` with two processes: equal weights except for the order of sums."""
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        shutil.copytree(corpus, folder)
        launch = f"accelerate.commands.launch --cpu --num_processes {processes} --num_machines 1"
        options = "--mixed_precision no --dynamo_backend no --main_process_port 0"
        pretrain = "training pretrain --steps 6 --length 128 --threads 1 --cpu --folder"
        arguments = f"-m {launch} {options} -m {pretrain}".split()
        command = [sys.executable, *arguments, str(folder)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr[-2000:]
        assert len((folder / "loss.jsonl").read_text().splitlines()) == 6
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        weights.append(torch.cat([tensor.flatten() for tensor in state["model"].values()]))
    torch.manual_seed(0)
    initial = torch.cat(
        [t.flatten() for t in build_model(ModelShape(**state["shape"])).state_dict().values()]
    )
    change, difference = (weights[0] - initial).norm(), (weights[0] - weights[1]).norm()
    assert difference < 0.1 * change, (difference, change)
