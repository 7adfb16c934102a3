"""A resumed run has the same result as an uninterrupted one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.labels import NUM_OPENING_TOKENS, LabelWeights, label_weights
from training.model import ModelShape, build_model
from training.packing import PAD, Rows
from training.plan import TrainingPlan
from training.pretrain import TrainingRun, train

FAST = ((0.0, 0.0), (0.2, 1.0), (1.0, 0.5))
SHAPE = ModelShape(width=64, layers=2, positions=32, vocab_size=64)
PLAN = TrainingPlan(
    steps=6, rows_per_step=4, rows_per_batch=2, schedule=FAST, stage_ends=(0.6, 1.0)
)
WEIGHTS = (LabelWeights(), LabelWeights(middle=3.0))


class RandomRows:
    """A source of random sequences in chunks of different sizes, some of them padded."""

    def chunk(self, stage: int, number: int) -> Rows:
        rng = np.random.default_rng([stage, number])
        rows = rng.integers(0, 64, (3 + number % 4, 32)).astype(np.uint16)
        rows[::3, 20:] = PAD
        return rows


class RepeatedRows:
    """A source whose chunks are all equal."""

    def chunk(self, stage: int, number: int) -> Rows:
        return np.random.default_rng(0).integers(0, 64, (4, 32)).astype(np.uint16)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def new_run(plan: TrainingPlan = PLAN) -> TrainingRun:
    return TrainingRun(SHAPE, plan, RandomRows(), WEIGHTS)


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    return dict(run.model.state_dict())


def test_six_steps_equal_three_and_three_after_a_reload(tmp_path: Path) -> None:
    # The run is stopped in the first stage, within a chunk, one step before the second one starts.
    whole, first, second = new_run(), new_run(), new_run()
    losses = [float(whole.advance()) for _ in range(6)]
    before = [float(first.advance()) for _ in range(3)]
    first.save(tmp_path / "checkpoint.pt")
    for parameter in second.model.parameters():
        parameter.data.zero_()  # the second run must not use its own initial weights
    second.load(tmp_path / "checkpoint.pt")
    after = [float(second.advance()) for _ in range(3)]
    assert before + after == losses
    assert [count.steps for count in second.counts] == [4, 2]
    assert second.tokens == whole.tokens
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(second)[name]), name


def test_steps_read_all_sequences_of_the_chunks_in_order() -> None:
    run, source = new_run(), RandomRows()
    expected = np.concatenate([source.chunk(0, number) for number in range(4)])[:16]
    seen: list[Rows] = []
    original = run.runner.run
    run.runner.run = lambda rows, *rest: (seen.append(rows), original(rows, *rest))[1]  # type: ignore[method-assign]
    for _ in range(4):
        run.advance()
    assert (np.concatenate(seen) == expected).all()


def test_a_run_decreases_the_loss() -> None:
    plan = TrainingPlan(steps=30, rows_per_step=4, rows_per_batch=4, schedule=FAST)
    run = TrainingRun(SHAPE, plan, RepeatedRows())
    losses = [float(run.advance()) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.5


def test_the_batch_size_in_memory_changes_only_rounding() -> None:
    runs = [new_run(replace(PLAN, rows_per_batch=n)) for n in (1, 4)]
    single, batched = (float(run.advance()) for run in runs)
    assert single == pytest.approx(batched, rel=1e-3)


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    new_run().save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="another run"):
        new_run(replace(PLAN, steps=7)).load(tmp_path / "checkpoint.pt")


def test_a_run_of_some_minutes_ends_in_time_and_with_its_last_stage(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=0, minutes=0.05)
    run, started = new_run(plan), time.monotonic()
    log = tmp_path / "loss.jsonl"
    assert train(run, tmp_path / "checkpoint.pt", log, started_at=started, say=lambda _: None)
    assert 2.5 < time.monotonic() - started < 6
    assert all(count.steps for count in run.counts)
    assert len(log.read_text().splitlines()) == run.step
    resumed = new_run(plan)
    assert train(resumed, tmp_path / "checkpoint.pt", log, say=lambda _: None)
    assert resumed.step == run.step, "no time was left"


def test_sigterm_saves_and_ends_a_run(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=100_000)
    run, checkpoint = new_run(plan), tmp_path / "checkpoint.pt"
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert not train(run, checkpoint, tmp_path / "loss.jsonl", say=lambda _: None)
    resumed = new_run(plan)
    resumed.load(checkpoint)
    assert resumed.step == run.step > 0


def test_a_failed_save_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = new_run(), tmp_path / "checkpoint.pt"
    run.save(file)
    before = file.read_bytes()

    def write_half(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(OSError, match="disk full"):
        run.save(file)
    assert file.read_bytes() == before


def test_after_an_interruption_the_log_contains_each_step_once(tmp_path: Path) -> None:
    checkpoint, log = tmp_path / "checkpoint.pt", tmp_path / "loss.jsonl"
    first = new_run()
    for _ in range(3):
        first.advance()
    first.seconds = 3.0
    first.save(checkpoint)
    # Steps 4 and 5 were logged, but the machine failed before the next checkpoint.
    lines = [{"step": n, "loss": 1.0, "seconds": float(n)} for n in range(1, 6)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(new_run(), checkpoint, log, say=lambda _: None)
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
    data = LabelWeights(middle=3.0, opening=3.0)
    weights = label_weights(inputs, labels, data)[0].tolist()
    # The labels 32, 33 and the end of the first document, 50 and the end of the last; then padding.
    assert weights == [1, 1, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 3, 3, 0]


def test_the_opening_of_a_middle_has_its_own_weight() -> None:
    inputs = torch.tensor([[1, 30, 3, 31, 2, *range(40, 48), 0, 50]])
    labels = torch.cat([inputs[:, 1:], torch.tensor([[51]])], 1)
    data = LabelWeights(middle=2.0, opening=6.0)
    weights = label_weights(inputs, labels, data)[0].tolist()
    # The opening labels of the middle, its rest with `<|endoftext|>`, and the text after it.
    assert weights == [1] * 4 + [6] * NUM_OPENING_TOKENS + [2] * 5 + [1] * 2


def test_two_processes_compute_the_same_steps_as_one(corpus: Path, tmp_path: Path) -> None:
    """`accelerate launch` with two processes: equal weights except for the order of sums."""
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        shutil.copytree(corpus, folder)
        launch = f"accelerate.commands.launch --cpu --num_processes {processes} --num_machines 1"
        options = "--mixed_precision no --dynamo_backend no --main_process_port 0"
        shape = "--width 64 --layers 2 --length 128 --workers 1"
        pretrain = f"training pretrain --steps 6 {shape} --threads 1 --cpu --folder"
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
