"""The pretraining loop: AdamW and Muon, warm-up and decay, checkpoints that resume to the bit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import GPTBigCodeForCausalLM

from training.loss import weighted_cross_entropy
from training.model import Shape, build
from training.packing import PAD, Rows
from training.tokenizer import SPECIAL_TOKENS, special_id

_IGNORED = -100

OPENING = 4
"""Tokens of a middle that must join it to the prefix, which lies behind the suffix in PSM order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. Two runs with equal plans and rows give equal weights."""

    steps: int
    rows_per_step: int = 8
    """Sequences in one optimiser step."""
    rows_per_batch: int = 8
    """Sequences in one forward pass; fewer need less memory."""
    schedule: tuple[tuple[int, float], ...] = ((-1, 0.0), (99, 1.0))
    """Steps and what the learning rates are multiplied with there, straight lines between."""
    legs: tuple[int, ...] = ()
    """Steps at which the optimisers begin anew."""
    first_step: int = 0
    """Where the run begins: a later leg alone, from the weights of another run."""
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    weight_decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids by which the loss knows what a token belongs to; -1 is no token's."""

    middle: int = SPECIAL_TOKENS.index("<fim_middle>")
    end: int = SPECIAL_TOKENS.index("<|endoftext|>")
    asked: tuple[int, ...] = (-1,)
    """After these, somebody else speaks."""
    answered: int = -1
    """After this, the model does."""

    @classmethod
    def of(cls, tokenizer: tokenizers.Tokenizer) -> Marks:
        """Look ChatML's tokens up; raises ValueError where one is missing."""
        asked = tuple(special_id(tokenizer, name) for name in ("<|system|>", "<|user|>"))
        return cls(asked=asked, answered=special_id(tokenizer, "<|assistant|>"))


@dataclass(frozen=True, slots=True)
class Part:
    """The data of some steps of a run."""

    rows: Rows
    until: int
    """The step before which it ends."""
    middle_weight: float = 1.0
    """What a token after `<fim_middle>` counts in the loss; any other counts 1."""
    opening_weight: float = 1.0
    """What the first `OPENING` of those count."""
    marks: Marks = Marks()


def learning_rate_factor(step: int, plan: Plan) -> float:
    """Return what the learning rates of a step are multiplied with."""
    steps, factors = zip(*plan.schedule, strict=True)
    return float(np.interp(step, steps, factors))


def optimizers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices within the layers, AdamW for embeddings, norms and biases.

    Muon is Jordan et al. 2024; its rate is scaled to match AdamW's update size
    (Liu et al. 2025, arXiv:2502.16982).
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inner = parameter.ndim == 2 and ".h." in name
        (matrices if inner else rest).append(parameter)
    muon = torch.optim.Muon(
        matrices, lr=plan.muon_lr, weight_decay=plan.weight_decay, adjust_lr_fn="original"
    )
    adam = torch.optim.AdamW(rest, lr=plan.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adam]


def batches(
    rows: Rows, step: int, plan: Plan, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and labels of one step, both (rows_per_batch, length - 1).

    Rows are taken in order and begin again at the end; padding is no label. With more processes
    than one, batches are no larger than a process's share.
    """
    first = step * plan.rows_per_step
    chosen = rows[np.arange(first, first + plan.rows_per_step) % len(rows)]
    share = plan.rows_per_step // processes
    size = max(n for n in range(1, min(plan.rows_per_batch, share) + 1) if share % n == 0)
    for at in range(0, plan.rows_per_step, size):
        part = chosen[at : at + size].astype(np.int64)
        padding = part == PAD
        labels = torch.from_numpy(np.where(padding, _IGNORED, part)[:, 1:])
        yield torch.from_numpy(np.where(padding, 0, part)[:, :-1]), labels


def label_weights(inputs: Tensor, labels: Tensor, part: Part) -> Tensor:
    """Return what each label counts, (batch, length): nothing for padding.

    A label lies in a middle if, up to its input, `<fim_middle>` came after the last
    `<|endoftext|>`; in somebody else's turn, which counts nothing, if `<|system|>` or `<|user|>`
    came after the last `<|assistant|>` or `<|endoftext|>`.
    """

    def last(*ids: int) -> Tensor:
        found = torch.isin(inputs, torch.tensor(ids, device=inputs.device))
        return torch.where(found, places, -1).cummax(1).values

    places = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    marks = part.marks
    middle, end = last(marks.middle), last(marks.end)
    weights = torch.where(places - middle < OPENING, part.opening_weight, part.middle_weight)
    weights = torch.where(middle > end, weights, 1.0)
    asked = last(*marks.asked) > last(marks.answered, marks.end)
    return weights * ~asked * (labels != _IGNORED)


def loss_of(
    model: GPTBigCodeForCausalLM, inputs: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of cross-entropies in nats, with bfloat16 products where the device has them."""
    with torch.autocast(inputs.device.type, torch.bfloat16):
        hidden = model.transformer(input_ids=inputs, use_cache=False).last_hidden_state
    return weighted_cross_entropy(
        hidden.flatten(0, 1).to(torch.bfloat16),
        model.lm_head.weight,
        labels.flatten().clamp(min=0),
        weights.flatten(),
    )


class Run:
    """A training run that can be stopped and taken up again.

    Under `accelerate launch` each process takes its share of a step's sequences and the gradients
    are added up: the same step as on one device, but for the order of floating-point sums.
    """

    def __init__(
        self, shape: Shape, plan: Plan, parts: Sequence[Part], state: PartialState | None = None
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.parts, self.shape = plan, parts, shape
        self.state = state or PartialState(cpu=True)
        if plan.rows_per_step % self.state.num_processes:
            raise ValueError(
                f"{plan.rows_per_step} sequences a step cannot be shared by "
                f"{self.state.num_processes} processes."
            )
        self.model = build(shape).to(self.state.device)
        self.optimizers = optimizers(self.model, plan)
        self.step = plan.first_step

    def advance(self) -> float:
        """Do one optimiser step; return its loss, the weighted mean of nats a token."""
        part = next(part for part in self.parts if self.step < part.until)
        if self.step in self.plan.legs:
            self.optimizers = optimizers(self.model, self.plan)
        factor = learning_rate_factor(self.step, self.plan)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
        made = list(batches(part.rows, self.step, self.plan, self.state.num_processes))
        weights = [label_weights(*batch, part) for batch in made]
        whole = torch.stack([weight.sum() for weight in weights]).sum()
        total = torch.zeros((), device=self.state.device)
        mine = slice(self.state.process_index, None, self.state.num_processes)
        for (inputs, labels), weight in zip(made[mine], weights[mine], strict=True):
            tensors = (tensor.to(self.state.device) for tensor in (inputs, labels, weight))
            loss = loss_of(self.model, *tensors) / whole
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self._add_up(total)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(total)

    def _add_up(self, total: Tensor) -> None:
        """Sum gradients and loss over the processes."""
        if self.state.num_processes > 1:
            for parameter in self.model.parameters():
                torch.distributed.all_reduce(parameter.grad)
            torch.distributed.all_reduce(total)

    def save(self, file: Path) -> None:
        """Write all that the rest of the run depends on; never leaves half a file."""
        state = {
            "step": self.step,
            "shape": asdict(self.shape),
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, file)

    def load(self, file: Path) -> None:
        """Take up a run that `save` wrote.

        Raises ValueError if that run had another plan or shape: the rest would not be the same.
        """
        state = torch.load(file, map_location=self.state.device, weights_only=True)
        if (Plan(**state["plan"]), Shape(**state["shape"])) != (self.plan, self.shape):
            raise ValueError(f"{file} belongs to another run: {state['plan']}, {state['shape']}")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]


def keep_steps(log: Path, step: int) -> float:
    """Drop the lines after a step, which are about to be made again; return its seconds."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines]
    kept = [row for row in rows if row["step"] <= step]
    log.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return float(kept[-1]["seconds"]) if kept else 0.0


def train(
    run: Run,
    checkpoint: Path,
    log: Path,
    *,
    seconds_between_checkpoints: float = 240.0,
    say: Callable[[str], None] = print,
) -> None:
    """Run to the end of the plan, from the checkpoint if there is one, logging each step.

    One process of several writes; all read.
    """
    before = 0.0
    if checkpoint.exists():
        run.load(checkpoint)
        before = keep_steps(log, run.step)
        say(f"resumed at step {run.step}")
    saved = time.monotonic()
    started = saved - before
    with log.open("a", encoding="utf-8") as lines:
        while run.step < run.plan.steps:
            loss = run.advance()
            now = time.monotonic()
            if not run.state.is_main_process:
                continue
            row = {"step": run.step, "loss": round(loss, 4), "seconds": round(now - started, 1)}
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            if run.step % 20 == 0:
                say(f"step {run.step}/{run.plan.steps} loss {loss:.3f} {now - started:.0f} s")
            if now - saved > seconds_between_checkpoints:
                run.save(checkpoint)
                saved = now
    if run.state.is_main_process:
        run.save(checkpoint)
