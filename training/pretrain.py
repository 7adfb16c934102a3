"""The pretraining loop: Muon and AdamW, a learning-rate schedule, exactly resumable checkpoints."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import GPTBigCodeForCausalLM

from training.labels import StageData, label_weights, step_batches
from training.loss import weighted_cross_entropy
from training.model import ModelShape, build_model
from training.plan import TrainingPlan, learning_rate_factor


def make_optimizers(model: nn.Module, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices in the layers, AdamW for embeddings, norms and biases.

    Muon is Jordan et al. 2024, with its original scaling of the learning rate.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_layer_matrix = parameter.ndim == 2 and ".h." in name
        (matrices if is_layer_matrix else others).append(parameter)
    muon = torch.optim.Muon(
        matrices, lr=plan.muon_lr, weight_decay=plan.weight_decay, adjust_lr_fn="original"
    )
    adam = torch.optim.AdamW(others, lr=plan.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adam]


def training_loss(
    model: GPTBigCodeForCausalLM, inputs: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted sum of cross-entropies in nats; matrix products are in bfloat16."""
    with torch.autocast(inputs.device.type, torch.bfloat16):
        hidden = model.transformer(input_ids=inputs, use_cache=False).last_hidden_state
    return weighted_cross_entropy(
        hidden.flatten(0, 1).to(torch.bfloat16),
        model.lm_head.weight,
        labels.flatten().clamp(min=0),
        weights.flatten(),
    )


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
        stages: Sequence[StageData],
        state: PartialState | None = None,
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.stages, self.shape = plan, stages, shape
        self.state = state or PartialState(cpu=True)
        if plan.rows_per_step % self.state.num_processes:
            raise ValueError(
                f"{plan.rows_per_step} sequences per step cannot be divided among "
                f"{self.state.num_processes} processes. Use another number of processes."
            )
        self.model = build_model(shape).to(self.state.device)
        self.optimizers = make_optimizers(self.model, plan)
        self.step = plan.first_step

    def advance(self) -> float:
        """Run one optimiser step; return its loss, the weighted mean of nats per token."""
        if self.step in self.plan.phase_starts:
            self.optimizers = make_optimizers(self.model, self.plan)
        factor = learning_rate_factor(self.step, self.plan)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
        loss = self._accumulate_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss)

    def _accumulate_gradients(self) -> Tensor:
        """Compute the step's gradients, summed over the processes; return its loss."""
        data = next(stage for stage in self.stages if self.step < stage.end_step)
        num_processes = self.state.num_processes
        batches = list(step_batches(data.rows, self.step, self.plan, num_processes))
        weights = [label_weights(*batch, data) for batch in batches]
        total_weight = torch.stack([weight.sum() for weight in weights]).sum()
        total_loss = torch.zeros((), device=self.state.device)
        share = slice(self.state.process_index, None, num_processes)
        for (inputs, labels), weight in zip(batches[share], weights[share], strict=True):
            tensors = (tensor.to(self.state.device) for tensor in (inputs, labels, weight))
            loss = training_loss(self.model, *tensors) / total_weight
            loss.backward()  # type: ignore[no-untyped-call]
            total_loss += loss.detach()
        if num_processes > 1:
            for parameter in self.model.parameters():
                torch.distributed.all_reduce(parameter.grad)
            torch.distributed.all_reduce(total_loss)
        return total_loss

    def save(self, file: Path) -> None:
        """Write a checkpoint with all state that the rest of the run depends on, atomically."""
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
        """Continue from a checkpoint that `save` wrote.

        Raises ValueError if it has another plan or shape: the result would not be the same.
        """
        state = torch.load(file, map_location=self.state.device, weights_only=True)
        if (TrainingPlan(**state["plan"]), ModelShape(**state["shape"])) != (self.plan, self.shape):
            raise ValueError(
                f"{file} belongs to another run, with plan {state['plan']} and shape "
                f"{state['shape']}. Choose another --folder, or delete it."
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]


def truncate_log(log: Path, step: int) -> float:
    """Drop the log lines after a step, which will be run again; return the step's seconds."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines]
    kept = [row for row in rows if row["step"] <= step]
    log.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return float(kept[-1]["seconds"]) if kept else 0.0


def train(
    run: TrainingRun,
    checkpoint: Path,
    log: Path,
    *,
    seconds_between_checkpoints: float = 240.0,
    say: Callable[[str], None] = print,
) -> None:
    """Run all steps of the plan and log each; continue from the checkpoint if there is one.

    With several processes only the main process writes; all read the checkpoint.
    """
    earlier_seconds = 0.0
    if checkpoint.exists():
        run.load(checkpoint)
        earlier_seconds = truncate_log(log, run.step)
        say(f"resumed at step {run.step}")
    saved_at = time.monotonic()
    started_at = saved_at - earlier_seconds
    with log.open("a", encoding="utf-8") as lines:
        while run.step < run.plan.steps:
            loss = run.advance()
            now = time.monotonic()
            if not run.state.is_main_process:
                continue
            seconds = now - started_at
            row = {"step": run.step, "loss": round(loss, 4), "seconds": round(seconds, 1)}
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            if run.step % 20 == 0:
                say(f"step {run.step}/{run.plan.steps} loss {loss:.3f} {seconds:.0f} s")
            if now - saved_at > seconds_between_checkpoints:
                run.save(checkpoint)
                saved_at = now
    if run.state.is_main_process:
        run.save(checkpoint)
