"""Train small models of several sizes and token budgets, and predict the loss of larger ones.

The law is L(N, D) = E + A/N^a + B/D^b (Hoffmann et al. 2022, arXiv:2203.15556), with N weights
without embeddings and D tokens. The exponents are found by a grid search; for each pair, the rest
is a least-squares fit.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState

from training.corpus import load_held_out
from training.demo_run import DemoRunOptions, demo_run
from training.measure import measure_loss
from training.tokenizer import load_tokenizer

SHAPES = ((128, 4), (192, 5), (256, 6), (320, 6))
"""Width and number of layers of the models."""

_HELD_OUT_PIECES = 150
_ROWS_PER_STEP = 8


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """Size, data and loss of one run."""

    width: int
    layers: int
    weights: int
    """Number of weights without embeddings."""
    tokens: int
    """Number of training tokens."""
    nats_per_token: float
    """Loss on held-out Python."""


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """L(N, D) = floor + size_factor / N^size_exponent + data_factor / D^data_exponent."""

    floor: float
    """Loss, in nats per token, that no size and no data go below."""
    size_factor: float
    size_exponent: float
    data_factor: float
    data_exponent: float
    error: float
    """Root mean square error over the points, in nats per token."""

    def loss(self, weights: float, tokens: float) -> float:
        """Return the predicted loss in nats per token."""
        size_loss = self.size_factor / weights**self.size_exponent
        data_loss = self.data_factor / tokens**self.data_exponent
        return float(self.floor + size_loss + data_loss)

    def best_weights(self, compute: float) -> float:
        """Return the best N for a budget of 6 N D floating-point operations."""
        sizes = np.geomspace(1e4, 1e11, 2000)
        return float(sizes[np.argmin([self.loss(n, compute / 6 / n) for n in sizes])])


def measure_points(
    folder: Path,
    budgets: Sequence[int],
    length: int = 1024,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    say: Callable[[str], None] = print,
) -> list[ScalingPoint]:
    """Train each shape on each budget of tokens and measure it; write and return the points."""
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    documents = list(load_held_out(folder))
    python = [document for document in documents if document.language == "python"]
    steps = [max(2, budget // (_ROWS_PER_STEP * length)) for budget in budgets]
    points = []
    for (width, layers), num_steps in itertools.product(shapes, steps):
        options = DemoRunOptions(
            folder,
            folder,
            width,
            layers,
            length,
            num_steps,
            rows_per_step=_ROWS_PER_STEP,
            fim_rate=0.5,
        )
        with demo_run(options, PartialState(), say) as run:
            while not run.is_finished:
                run.advance()
            model = run.model.eval()
        loss = measure_loss(model, tokenizer, python, _HELD_OUT_PIECES, random.Random(0))
        weights = sum(p.numel() for name, p in model.named_parameters() if ".h." in name)
        tokens = num_steps * _ROWS_PER_STEP * length
        points.append(ScalingPoint(width, layers, weights, tokens, loss["nats_per_token"]))
        say(str(points[-1]))
    report = [asdict(point) for point in points]
    (folder / "scaling.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return points


def fit_law(points: Sequence[ScalingPoint]) -> ScalingLaw:
    """Fit the law to the points. Raises ValueError if there are fewer points than unknowns."""
    if len(points) < 5:
        raise ValueError(f"Five unknowns cannot be fitted to {len(points)} runs. Add runs.")
    sizes = np.array([point.weights for point in points], dtype=np.float64)
    tokens = np.array([point.tokens for point in points], dtype=np.float64)
    losses = np.array([point.nats_per_token for point in points])
    best: ScalingLaw | None = None
    for a, b in itertools.product(np.arange(0.1, 1.01, 0.02), repeat=2):
        terms = np.stack([np.ones_like(losses), sizes**-a, tokens**-b], axis=1)
        solution, *_ = np.linalg.lstsq(terms, losses, rcond=None)
        error = float(np.sqrt(np.mean((terms @ solution - losses) ** 2)))
        if min(solution) > 0 and (best is None or error < best.error):
            floor, size_factor, data_factor = map(float, solution)
            best = ScalingLaw(floor, size_factor, float(a), data_factor, float(b), error)
    if best is None:
        raise ValueError("The loss does not decrease with size and data: no fit.")
    return best
