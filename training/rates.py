"""Compare learning rates of Muon by short runs of equal time on the same data."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from accelerate import PartialState

from training.corpus import load_held_out
from training.demo_run import DemoRunOptions, demo_run
from training.measure import measure_loss
from training.pretrain import TrainingRun
from training.tokenizer import load_tokenizer


@dataclass(frozen=True, slots=True)
class RateResult:
    """Result of a short run."""

    muon: float
    """Peak learning rate of Muon."""
    adam: float
    """Peak learning rate of AdamW."""
    steps: int
    tokens: int
    training_loss: float
    """Loss of the last step."""
    nats_per_token: float
    """Loss on held-out Python."""


def compare_rates(
    options: DemoRunOptions,
    muon_rates: Sequence[float],
    seconds: float,
    state: PartialState,
    *,
    count: int = 100,
    say: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Train for `seconds` with each rate and the recipe's whole schedule; return the results."""
    tokenizer = load_tokenizer(options.corpus / "tokenizer.json")
    documents = [d for d in load_held_out(options.corpus) if d.language == "python"]
    results = []
    for muon in muon_rates:
        rates = replace(options.rates, muon=muon)
        settings = replace(options, rates=rates, steps=None, minutes=seconds / 60)
        with demo_run(settings, state, say) as run:
            loss = train_for(run, seconds, say)
            model = run.model.eval()
        held_out = measure_loss(model, tokenizer, documents, count, random.Random(0))
        result = RateResult(
            muon, rates.adam, run.step, run.tokens, round(loss, 4), held_out["nats_per_token"]
        )
        results.append(asdict(result))
        say(str(result))
    return results


def train_for(run: TrainingRun, seconds: float, say: Callable[[str], None]) -> float:
    """Run the plan of a run in `seconds`, without checkpoints; return the loss of the last step."""
    if run.runner.device.type == "cuda":
        run.runner.compile(run.plan.rows_per_step, say)
    started = time.monotonic()
    loss = float(run.advance())
    while not run.is_finished:
        last = run.advance()
        if run.step % 10 == 0:
            loss = float(last)  # waits for the device
        run.progress = (time.monotonic() - started) / seconds
    return loss
