"""Set up the pretraining run of the demo model from its recipe."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from accelerate import PartialState

from training.labels import RoleTokens, StageData
from training.model import ModelShape, load_initial_weights
from training.plan import TrainingPlan
from training.pretrain import TrainingRun
from training.recipe import scaled_phase_starts, scaled_schedule, scaled_stages
from training.rows import load_or_make_rows


def make_demo_run(
    folder: Path,
    tokenizer: tokenizers.Tokenizer,
    state: PartialState,
    *,
    steps: int,
    length: int,
    seed: int,
    fim_rate: float | None = None,
    weights: Path | None = None,
) -> TrainingRun:
    """Return the run for the corpus in `folder`; training sequences are made if they are missing.

    `weights` is the folder of a model that earlier phases made; only the last phase is run then.
    """
    phase_starts = scaled_phase_starts(steps)
    first_step = phase_starts[-1] if weights else 0
    tokens = RoleTokens.from_tokenizer(tokenizer)
    stages: list[StageData] = []
    end_step = 0
    for number, stage in enumerate(scaled_stages(steps, fim_rate), start=1):
        end_step += stage.steps
        if end_step > first_step:
            with state.main_process_first():
                rows = load_or_make_rows(folder, tokenizer, length, number, stage)
            middle, opening = stage.middle_weight, stage.opening_weight
            stages.append(StageData(rows, end_step, middle, opening, tokens))
    plan = TrainingPlan(
        steps=steps,
        schedule=scaled_schedule(steps),
        phase_starts=phase_starts,
        first_step=first_step,
        seed=seed,
    )
    shape = ModelShape(positions=length, vocab_size=tokenizer.get_vocab_size())
    run = TrainingRun(shape, plan, stages, state)
    if weights:
        load_initial_weights(run.model, weights)
    return run
