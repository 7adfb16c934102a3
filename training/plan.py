"""The plan of a pretraining run: steps, batches, optimiser settings and learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Settings of a run. Two runs with equal plans and rows give equal weights."""

    steps: int
    """Number of the run's last optimiser step."""
    rows_per_step: int = 8
    """Sequences in one optimiser step."""
    rows_per_batch: int = 8
    """Maximum sequences in one forward pass; fewer need less memory."""
    schedule: tuple[tuple[int, float], ...] = ((-1, 0.0), (99, 1.0))
    """Steps and the factors of the learning rates there, with linear interpolation between."""
    phase_starts: tuple[int, ...] = ()
    """Steps at which the optimisers are reset."""
    first_step: int = 0
    """Step at which the run starts; above 0 it continues from the weights of another run."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon."""
    adam_lr: float = 3e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.05
    """Weight decay of Muon; AdamW has none."""
    seed: int = 0
    """Seed of the initial weights."""


def learning_rate_factor(step: int, plan: TrainingPlan) -> float:
    """Return the factor that the learning rates of a step are multiplied by."""
    steps, factors = zip(*plan.schedule, strict=True)
    return float(np.interp(step, steps, factors))
