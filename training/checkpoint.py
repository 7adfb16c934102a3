"""Read the checkpoint of a pretraining run, and write one that has only its weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GPTBigCodeForCausalLM

from training.model import ModelShape, build_model
from training.plan import LearningRates, TrainingPlan

PART_BYTES = 15 << 20
"""Maximum size of a part of a split checkpoint."""

_TIED = "lm_head.weight", "transformer.wte.weight"


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """The model of a run and how far it was trained."""

    model: GPTBigCodeForCausalLM
    """Weights in float32, in eval mode."""
    step: int
    """Number of optimiser steps that are done."""
    plan: TrainingPlan
    """Plan of the run."""
    progress: float
    """Share of the run that is done, for a run that ends after a time."""
    report: dict[str, Any]
    """What `TrainingRun.report` returned."""


def plan_from_dict(fields: Mapping[str, Any]) -> TrainingPlan:
    """Return the plan that a checkpoint contains."""
    return TrainingPlan(**{**fields, "rates": LearningRates(**fields["rates"])})


def load_checkpoint(file: Path) -> LoadedCheckpoint:
    """Return the model, step and plan that a run has saved."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    model = build_model(ModelShape(**state["shape"]))
    weights = {name: tensor.float() for name, tensor in state["model"].items()}
    weights.setdefault(_TIED[0], weights[_TIED[1]])
    model.load_state_dict(weights)
    plan = plan_from_dict(state["plan"])
    return LoadedCheckpoint(model.eval(), state["step"], plan, state["progress"], state["report"])


def write_weights(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint without optimiser state, rounded to bfloat16 as the weights ship."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = state["model"]
    state["model"] = {n: t.bfloat16() for n, t in weights.items() if n != _TIED[0]}
    del state["optimizers"]
    partial = target.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, target)


def split_file(file: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Split a file into parts `NAME.part0` and so on in `folder`; return the parts.

    `NAME.sha256` has the checksum of the whole file.
    """
    data = file.read_bytes()
    parts = []
    for number, start in enumerate(range(0, len(data), part_bytes)):
        part = folder / f"{file.name}.part{number}"
        partial = part.with_suffix(".partial")
        partial.write_bytes(data[start : start + part_bytes])
        os.replace(partial, part)
        parts.append(part)
    checksum = hashlib.sha256(data).hexdigest()
    (folder / f"{file.name}.sha256").write_text(f"{checksum}  {file.name}\n", encoding="utf-8")
    return parts


def join_parts(folder: Path, name: str, target: Path) -> None:
    """Join the parts that `split_file` wrote. Raises ValueError if the checksum differs."""
    parts = sorted(folder.glob(f"{name}.part*"), key=lambda part: int(part.suffix[5:]))
    data = b"".join(part.read_bytes() for part in parts)
    expected = (folder / f"{name}.sha256").read_text(encoding="utf-8").split()[0]
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"the parts of {name} in {folder} do not give the file that was split")
    target.write_bytes(data)
