"""Read the checkpoint of a pretraining run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPTBigCodeForCausalLM

from training.model import ModelShape, build_model
from training.plan import TrainingPlan


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """The model of a run and how far it was trained."""

    model: GPTBigCodeForCausalLM
    """Weights in float32, in eval mode."""
    step: int
    """Number of optimiser steps that are done."""
    plan: TrainingPlan
    """Plan of the run."""


def load_checkpoint(file: Path) -> LoadedCheckpoint:
    """Return the model, step and plan that a run has saved."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    model = build_model(ModelShape(**state["shape"]))
    model.load_state_dict(state["model"])
    return LoadedCheckpoint(model.eval(), state["step"], TrainingPlan(**state["plan"]))
