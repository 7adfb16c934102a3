"""A pretraining run: it follows its plan, writes checkpoints, and can be resumed exactly."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from transformers import GPTBigCodeForCausalLM

from training.checkpoint import plan_from_dict
from training.device import device_name, peak_flops
from training.labels import LabelWeights
from training.model import ModelShape, flops_per_token
from training.packing import PAD, Rows
from training.plan import TrainingPlan
from training.step import StepRunner
from training.workers import RowSource


@dataclass(slots=True)
class StageCount:
    """What a run has read in a stage."""

    steps: int = 0
    """Number of optimiser steps."""
    tokens: int = 0
    """Number of tokens, without padding."""
    chunks: int = 0
    """Number of chunks that were read to their end."""
    row: int = 0
    """Number of sequences that were read of the next chunk."""


class TrainingRun:
    """A training run that can be interrupted and resumed.

    Under `accelerate launch` each process computes its share of a step's sequences, and the
    gradients are added. The step is the same as on one device, except for the order of
    floating-point sums.
    """

    def __init__(
        self,
        shape: ModelShape,
        plan: TrainingPlan,
        source: RowSource,
        weights: Sequence[LabelWeights] = (LabelWeights(),),
        state: PartialState | None = None,
    ) -> None:
        """Make a run; `weights` are the weights of the labels, by stage."""
        self.shape, self.plan, self.state = shape, plan, state or PartialState(cpu=True)
        if plan.rows_per_step % self.state.num_processes:
            raise ValueError(
                f"{plan.rows_per_step} sequences per step cannot be divided among "
                f"{self.state.num_processes} processes. Use another number of processes."
            )
        self.runner = StepRunner(
            shape, plan.rates, self.state, seed=plan.seed, rows_per_batch=plan.rows_per_batch
        )
        self.step = 0
        self.progress = 0.0
        """Share of the run that is done, for a run that ends after a time."""
        self.seconds = 0.0
        """Seconds that the run has taken, in all processes that resumed it."""
        self.counts = [StageCount() for _ in plan.stage_ends]
        self._source, self._weights = source, weights
        self._chunks: dict[int, Rows] = {}

    @property
    def model(self) -> GPTBigCodeForCausalLM:
        """The model that is trained."""
        return self.runner.model

    @property
    def tokens(self) -> int:
        """Number of tokens that the run has read, without padding."""
        return sum(count.tokens for count in self.counts)

    @property
    def is_finished(self) -> bool:
        """Whether the plan's steps or time are over."""
        return self.step >= self.plan.steps if self.plan.steps else self.progress >= 1.0

    def advance(self) -> Tensor:
        """Run one optimiser step; return its loss, the weighted mean of nats per token.

        The loss is on the device; reading it waits for the step.
        """
        progress = self.plan.progress(self.step) if self.plan.steps else self.progress
        stage = self.plan.stage(progress)
        rows = self._next_rows(stage)
        self.counts[stage].steps += 1
        self.counts[stage].tokens += int((rows != PAD).sum())
        self.step += 1
        return self.runner.run(rows, self._weights[stage], self.plan.learning_rate_factor(progress))

    def _next_rows(self, stage: int) -> Rows:
        """Return the sequences of a step, in the order of the chunks."""
        count, parts, missing = self.counts[stage], list[Rows](), self.plan.rows_per_step
        while missing:
            if stage not in self._chunks:
                self._chunks = {stage: self._source.chunk(stage, count.chunks)}
            chunk = self._chunks[stage]
            part = chunk[count.row : count.row + missing]
            parts.append(part)
            missing -= len(part)
            count.row += len(part)
            if count.row >= len(chunk):
                del self._chunks[stage]
                count.chunks, count.row = count.chunks + 1, 0
        return np.concatenate(parts)

    def report(self) -> dict[str, Any]:
        """Return facts about the run for its model card."""
        rate = self.tokens / max(self.seconds, 1e-9)
        flops = flops_per_token(self.shape)
        peak = peak_flops(self.runner.device)
        return {
            "device": device_name(self.runner.device),
            "seconds": round(self.seconds, 1),
            "tokens": self.tokens,
            "tokens_per_second": round(rate),
            "flops": flops * self.tokens,
            "utilisation": round(rate * flops / peak, 3) if peak else None,
            "stages": [asdict(count) for count in self.counts],
        }

    def save(self, file: Path) -> None:
        """Write a checkpoint with all state that the rest of the run depends on, atomically."""
        state = {
            "step": self.step,
            "progress": self.progress,
            "seconds": self.seconds,
            "shape": asdict(self.shape),
            "plan": asdict(self.plan),
            "report": self.report(),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.runner.optimizers],
        }
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, file)

    def load(self, file: Path) -> None:
        """Continue from a checkpoint that `save` wrote.

        Raises ValueError if it has another plan or shape: the result would not be the same.
        """
        state = torch.load(file, map_location=self.runner.device, weights_only=True)
        if (plan_from_dict(state["plan"]), ModelShape(**state["shape"])) != (self.plan, self.shape):
            raise ValueError(
                f"{file} belongs to another run, with plan {state['plan']} and shape "
                f"{state['shape']}. Choose another --folder, or delete it."
            )
        if "optimizers" not in state:
            raise ValueError(f"{file} has only the weights of a finished run. Choose another file.")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.runner.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.progress, self.seconds = state["step"], state["progress"], state["seconds"]
        self.counts = [StageCount(**count) for count in state["report"]["stages"]]
        self._chunks = {}


def truncate_log(log: Path, step: int) -> None:
    """Drop the log lines after a step, which will be run again."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines]
    kept = [row for row in rows if row["step"] <= step]
    log.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


@dataclass(slots=True)
class _Clock:
    """The time of a run: it counts from the start of the process, and goes on when resumed."""

    started_at: float
    """Moment at which the run would have started if it had not been interrupted."""
    budget: float
    """Seconds of the whole run; infinite if its number of steps is given."""
    first_progress: float = 0.0
    trained_from: float = math.inf
    """Moment of the first step, from which on the progress grows."""

    def start_training(self, progress: float) -> None:
        self.first_progress, self.trained_from = progress, time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.started_at

    def progress(self) -> float:
        """Return the share of the run that is done: it is 1 when the budget is used up."""
        now, end = time.monotonic(), self.started_at + self.budget
        if now >= end:
            return 1.0
        share = (now - self.trained_from) / (end - self.trained_from)
        return self.first_progress + (1 - self.first_progress) * share


class _StopFlag:
    """Whether the process was asked to end."""

    is_set = False

    def set(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


@contextmanager
def _stop_on_sigterm() -> Iterator[_StopFlag]:
    flag = _StopFlag()
    try:
        previous = signal.signal(signal.SIGTERM, flag.set)
    except ValueError:  # this is not the main thread
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Log:
    """Writes the loss of each step to a file, and reads it from the device only now and then."""

    def __init__(self, run: TrainingRun, file: Path, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._file = file.open("a", encoding="utf-8")
        self._losses: list[Tensor] = []
        self._since, self._tokens = time.monotonic(), run.tokens

    def add(self, loss: Tensor, steps_per_line: int) -> None:
        """Remember a loss; after `steps_per_line` steps, write all that are remembered."""
        self._losses.append(loss)
        if self._run.step % steps_per_line == 0:
            self.flush()

    def flush(self) -> None:
        """Write the losses that are remembered. Raises FloatingPointError if one is no number."""
        if not self._losses:
            return
        losses = torch.stack(self._losses).tolist()  # waits for the device
        run, first = self._run, self._run.step - len(losses) + 1
        for step, loss in enumerate(losses, first):
            row = {"step": step, "loss": round(loss, 4), "seconds": round(run.seconds, 1)}
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self._losses.clear()
        if not all(map(math.isfinite, losses)):
            raise FloatingPointError(f"the loss at step {run.step} is {losses[-1]}")
        if run.step % 20 == 0:
            self._report(sum(losses) / len(losses))

    def _report(self, loss: float) -> None:
        run, now = self._run, time.monotonic()
        rate = (run.tokens - self._tokens) / max(now - self._since, 1e-9)
        self._since, self._tokens = now, run.tokens
        flops, peak = rate * flops_per_token(run.shape), peak_flops(run.runner.device)
        utilisation = f", {flops / peak:.1%} of the peak rate" if peak else ""
        done = f"/{run.plan.steps}" if run.plan.steps else f" ({run.progress:.1%})"
        self._say(
            f"step {run.step}{done} loss {loss:.3f} {run.seconds:.0f} s, "
            f"{rate:.0f} tokens/s, {flops / 1e12:.1f} TFLOP/s{utilisation}"
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def train(
    run: TrainingRun,
    checkpoint: Path,
    log: Path,
    *,
    started_at: float | None = None,
    reserved_seconds: float = 0.0,
    seconds_between_checkpoints: float = 240.0,
    after_save: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> bool:
    """Run the plan and log each step; continue from the checkpoint if there is one.

    A plan of minutes counts from `started_at` (of `time.monotonic`) and ends `reserved_seconds`
    earlier. SIGTERM saves and ends. With several processes only the main process writes; all read
    the checkpoint. Returns whether the plan was finished.
    """
    if checkpoint.exists():
        run.load(checkpoint)
        truncate_log(log, run.step)
        say(f"resumed at step {run.step}")
    elif run.state.is_main_process:
        log.unlink(missing_ok=True)
    now = time.monotonic()
    clock = _Clock(
        (now if started_at is None else started_at) - run.seconds,
        math.inf if run.plan.steps else run.plan.minutes * 60 - reserved_seconds,
    )
    is_cuda = run.runner.device.type == "cuda"
    if is_cuda:
        run.runner.compile(run.plan.rows_per_step, say)
        say(f"compiled after {clock.seconds():.1f} s")
    clock.start_training(run.progress)
    saved_at, lines = time.monotonic(), _Log(run, log, say)

    def save() -> None:
        if run.state.is_main_process:
            run.save(checkpoint)
            after_save()

    with _stop_on_sigterm() as stop:
        while not run.is_finished and not stop.is_set:
            loss = run.advance()
            run.seconds = clock.seconds()
            if not run.plan.steps:
                run.progress = _shared(clock.progress(), run)
            if run.state.is_main_process:
                lines.add(loss, 20 if is_cuda else 1)
            if time.monotonic() - saved_at > seconds_between_checkpoints:
                lines.flush()
                save()
                saved_at = time.monotonic()
        lines.flush()
        run.seconds = clock.seconds()
        save()
    lines.close()
    return run.is_finished


def _shared(progress: float, run: TrainingRun) -> float:
    """Return the progress of the main process, so that all processes take the same steps."""
    if run.state.num_processes == 1:
        return progress
    value = torch.tensor(progress, dtype=torch.float64, device=run.runner.device)
    torch.distributed.broadcast(value, 0)
    return float(value)
