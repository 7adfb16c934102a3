"""Set up the pretraining run of the demo model from its recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState

from training.checkpoint import load_checkpoint
from training.labels import LabelWeights, RoleTokens
from training.model import ModelShape
from training.plan import LearningRates, TrainingPlan
from training.pretrain import TrainingRun
from training.recipe import STEPS, stages_with
from training.tokenizer import load_tokenizer
from training.workers import ChunkSettings, ChunkWorkers


@dataclass(frozen=True, slots=True)
class DemoRunOptions:
    """Options of a run of the recipe."""

    folder: Path
    """Folder for the files of the run."""
    corpus: Path
    """Folder with the corpus and its tokenizer."""
    width: int = ModelShape().width
    layers: int = ModelShape().layers
    length: int = 1024
    """Tokens of a sequence and of the context window."""
    steps: int | None = None
    """Number of steps; None is the recipe's, or no number if `minutes` is given."""
    minutes: float | None = None
    """Minutes of the run, instead of a number of steps."""
    rows_per_step: int = 8
    rows_per_batch: int | None = None
    """Maximum sequences in one forward pass; None is 8 on a CPU and all of a step on a GPU."""
    workers: int | None = None
    """Number of processes that make sequences; None is the number of cores minus one."""
    rates: LearningRates = field(default_factory=LearningRates)
    fim_rate: float | None = None
    """Share of pieces with a hole; None is the recipe's."""
    seed: int = 0
    initial: Path | None = None
    """Checkpoint of another run with the same shape and tokenizer, whose weights this run starts
    from. The state of its optimisers is new."""


@contextmanager
def demo_run(
    options: DemoRunOptions, state: PartialState, say: Callable[[str], None] = print
) -> Iterator[TrainingRun]:
    """Yield the run for a corpus; worker processes make its sequences until the block ends."""
    stages = stages_with(options.fim_rate)
    tokenizer = load_tokenizer(options.corpus / "tokenizer.json")
    tokens = RoleTokens.from_tokenizer(tokenizer)
    weights = [LabelWeights(s.middle_weight, s.opening_weight, tokens) for s in stages]
    is_cpu = state.device.type == "cpu"
    plan = TrainingPlan(
        steps=options.steps or (0 if options.minutes else STEPS),
        minutes=options.minutes or 0.0,
        rows_per_step=options.rows_per_step,
        rows_per_batch=options.rows_per_batch or (8 if is_cpu else options.rows_per_step),
        stage_ends=tuple(stage.end for stage in stages),
        rates=options.rates,
        seed=options.seed,
    )
    shape = ModelShape(options.width, options.layers, options.length, tokenizer.get_vocab_size())
    # Each of several processes has its own workers, which make the same chunks.
    number = f"-{state.process_index}" if state.num_processes > 1 else ""
    settings = ChunkSettings(
        options.corpus, options.folder / f"blocks{number}", stages, options.length, options.seed
    )
    num_workers = options.workers
    if num_workers is None:
        num_workers = max(1, (os.cpu_count() or 2) // state.num_processes - 1)
    # The workers start before the device is used.
    source = ChunkWorkers(settings, options.folder / f"chunks{number}", num_workers, say)
    try:
        run = TrainingRun(shape, plan, source, weights, state)
        if options.initial:
            run.model.load_state_dict(load_checkpoint(options.initial).model.state_dict())
        yield run
    finally:
        source.close()
