"""Fine-tune a model on one repository; held-out files decide whether the result is served.

It trains a LoRA adapter as BigCode does (bigcode-project/starcoder, finetune: rank 16, alpha 32,
dropout 0.05, cosine decay). The sequences have the form in which completion uses the model, see
`fim.training.examples`. accelerate runs the loop: `accelerate launch -m lsp_server tune code PATH`
uses several GPUs, with DeepSpeed if accelerate's configuration says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from engine.loading.shared_files import copy_shared_files
from engine.loading.trainable import TrainableModel
from fim.training.examples import ExampleEncoder
from fim.training.loop import add_adapter, train
from fim.training.measure import HeldOutTest, Measurement
from fim.training.options import TuneOptions, sequence_length
from fim.training.rows import make_rows
from training.base_model import load_base_model
from training.holes import baseline_match_rate, sample_line_holes
from training.repository import read_repository, split_repository

_MIN_STEPS, _MAX_STEPS = 40, 1000


@dataclass(frozen=True, slots=True)
class TuneReport:
    """Results of fine-tuning on a repository."""

    before: Measurement
    after: Measurement
    baseline: float
    """Exact match of an editor that repeats the latest line with the same start, 0 to 1."""
    training_files: int
    held_out_files: int
    lines: int
    """Number of lines that exact match was measured on."""
    steps: int
    """Number of optimiser steps."""

    @property
    def is_improved(self) -> bool:
        """Whether the result should be served."""
        return self.after.is_better_than(self.before)


def tune(
    base: TrainableModel,
    repository: Path,
    out: Path,
    options: TuneOptions,
    say: Callable[[str], None] = print,
) -> TuneReport:
    """Tune a model on a repository; write the adapter or the weights to `out`.

    Held-out files are measured before and after. Raises ValueError if the repository or the model
    cannot be used, and ModelError if its tokenizer cannot.
    """
    disable_progress_bar()
    torch.manual_seed(options.seed)
    accelerator = Accelerator()
    say = say if accelerator.is_main_process else lambda _: None
    files = split_repository(read_repository(repository), options.seed)
    holes = sample_line_holes(files.held_out, options.lines, random.Random(options.seed))
    if not holes:
        raise ValueError("The held-out files have no lines of code to measure with.")
    encoder, length = ExampleEncoder.for_model(base), sequence_length(base.architecture)
    if encoder.family.note:
        say(f"{encoder.family.note} It is trained and measured in the same way.")
    rows = make_rows(files.training, encoder, length, options.seed)
    steps = options.steps if options.steps is not None else default_steps(len(rows), options)
    positions = base.architecture.positions
    test = HeldOutTest(encoder, holes, files.held_out, positions, length, options.seed)
    model = load_base_model(base.path).to(accelerator.device)
    before = test.measure(model)
    say(f"before: {before}")
    trained = model if options.full else add_adapter(model, base.architecture, options)
    train(trained, base.architecture, rows, steps, options, accelerator, say)
    trained = accelerator.unwrap_model(trained)
    after = test.measure(trained)
    say(f"after: {after}")
    if accelerator.is_main_process:
        _save(trained, out, base.path, options)
    return TuneReport(
        before,
        after,
        baseline=round(baseline_match_rate(holes), 4),
        training_files=len(files.training),
        held_out_files=len(files.held_out),
        lines=len(holes),
        steps=steps,
    )


def _save(model: PreTrainedModel | PeftModel, out: Path, base: Path, options: TuneOptions) -> None:
    model.save_pretrained(out, safe_serialization=True)
    if options.full:
        copy_shared_files(base, out)


def default_steps(num_rows: int, options: TuneOptions) -> int:
    """Return the number of steps that read every row once, within bounds."""
    return min(_MAX_STEPS, max(_MIN_STEPS, num_rows // options.rows_per_step))
