"""The plan of a pretraining run: its length, batches, learning rates and their schedule."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.recipe import SCHEDULE


@dataclass(frozen=True, slots=True)
class LearningRates:
    """Peak learning rates of the two optimisers."""

    muon: float = 0.02
    """Of Muon, for the matrices of the layers."""
    adam: float = 3e-3
    """Of AdamW, for embeddings, norms and biases."""
    weight_decay: float = 0.05
    """Weight decay of Muon; AdamW has none."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Settings of a run. Two runs of equal steps, plans and rows give equal weights."""

    steps: int
    """Number of the run's last optimiser step; 0 if the run ends after a time."""
    minutes: float = 0.0
    """Minutes after which the run ends, if `steps` is 0."""
    rows_per_step: int = 8
    """Sequences in one optimiser step."""
    rows_per_batch: int = 8
    """Maximum sequences in one forward pass; fewer need less memory."""
    stage_ends: tuple[float, ...] = (1.0,)
    """Shares of the run before which its stages end."""
    schedule: tuple[tuple[float, float], ...] = SCHEDULE
    """Shares of the run and the factors of the learning rates there, linear between them."""
    rates: LearningRates = field(default_factory=LearningRates)
    seed: int = 0
    """Seed of the initial weights and of the data."""

    def progress(self, step: int) -> float:
        """Return the share of the run at the middle of a step, for a run of a number of steps."""
        return (step + 0.5) / self.steps

    def stage(self, progress: float) -> int:
        """Return the index of the stage at a share of the run."""
        indices = (i for i, end in enumerate(self.stage_ends) if progress < end)
        return next(indices, len(self.stage_ends) - 1)

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor that the learning rates are multiplied by."""
        shares, factors = zip(*self.schedule, strict=True)
        return float(np.interp(progress, shares, factors))
