"""Small runs over sizes and token budgets, and the loss they foretell for larger ones.

The fit is L(N, D) = E + A/N^a + B/D^b (Hoffmann et al. 2022, arXiv:2203.15556), N weights without
embeddings, D tokens; by a grid over the exponents, for each of which the rest is least squares.
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

from training.fim import FimOptions
from training.measure import held_out_loss
from training.model import Shape
from training.prepare import read_documents
from training.pretrain import Part, Plan, Run
from training.recipe import ROWS_PER_STEP, Stage
from training.rows import rows_for
from training.tokenizer import load_tokenizer

SHAPES = ((128, 4), (192, 5), (256, 6), (320, 6))
"""Width and layers."""

_HELD_OUT_PIECES = 150
_STAGE_NUMBER = 0
"""Rows of these runs are kept as those of a stage that the recipe has not."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run."""

    width: int
    layers: int
    weights: int
    """Without embeddings."""
    tokens: int
    nats_per_token: float


@dataclass(frozen=True, slots=True)
class Fit:
    """L(N, D) = floor + size / N^a + data / D^b."""

    floor: float
    size: float
    a: float
    data: float
    b: float
    error: float
    """Root mean square over the points, in nats."""

    def loss(self, weights: float, tokens: float) -> float:
        """Return the loss it foretells, in nats a token."""
        return float(self.floor + self.size / weights**self.a + self.data / tokens**self.b)

    def best_weights(self, compute: float) -> float:
        """Return the N that is best for a budget of 6 N D floating-point operations."""
        sizes = np.geomspace(1e4, 1e11, 2000)
        return float(sizes[np.argmin([self.loss(n, compute / 6 / n) for n in sizes])])


def run_points(
    folder: Path,
    budgets: Sequence[int],
    length: int = 1024,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    say: Callable[[str], None] = print,
) -> list[Point]:
    """Train each shape on each budget of tokens and measure it; write and return the points."""
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    documents = list(read_documents(folder / "held_out.jsonl"))
    python = [document for document in documents if document.language == "python"]
    steps = [max(2, budget // (ROWS_PER_STEP * length)) for budget in budgets]
    stage = Stage(max(steps), FimOptions(), 3.2, "uniform", 1, 1, seed=0)
    rows = rows_for(folder, tokenizer, length, _STAGE_NUMBER, stage)
    points = []
    for (width, layers), count in itertools.product(shapes, steps):
        shape = Shape(width, layers, length, tokenizer.get_vocab_size())
        warm = max(1, count // 20)
        plan = Plan(count, ROWS_PER_STEP, schedule=((-1, 0.0), (warm, 1.0), (count, 0.0)))
        run = Run(shape, plan, [Part(rows, count)], PartialState())
        while run.step < count:
            run.advance()
        model = run.model.eval()
        loss = held_out_loss(model, tokenizer, python, _HELD_OUT_PIECES, random.Random(0))
        inner = sum(p.numel() for name, p in model.named_parameters() if ".h." in name)
        tokens = count * ROWS_PER_STEP * length
        points.append(Point(width, layers, inner, tokens, loss["nats_per_token"]))
        say(str(points[-1]))
    report = [asdict(point) for point in points]
    (folder / "scaling.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return points


def fit(points: Sequence[Point]) -> Fit:
    """Fit the formula; raises ValueError for fewer points than it has unknowns."""
    if len(points) < 5:
        raise ValueError(f"Five unknowns cannot be fitted to {len(points)} runs.")
    sizes = np.array([point.weights for point in points], dtype=np.float64)
    tokens = np.array([point.tokens for point in points], dtype=np.float64)
    losses = np.array([point.nats_per_token for point in points])
    best: Fit | None = None
    for a, b in itertools.product(np.arange(0.1, 1.01, 0.02), repeat=2):
        terms = np.stack([np.ones_like(losses), sizes**-a, tokens**-b], axis=1)
        found, *_ = np.linalg.lstsq(terms, losses, rcond=None)
        error = float(np.sqrt(np.mean((terms @ found - losses) ** 2)))
        if min(found) > 0 and (best is None or error < best.error):
            floor, size, data = map(float, found)
            best = Fit(floor, size, float(a), data, float(b), error)
    if best is None:
        raise ValueError("The runs do not get better with size and data: no fit.")
    return best
