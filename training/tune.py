"""Fine-tune a StarCoder on one repository; held-out files decide whether the result is served.

It trains a LoRA adapter as BigCode does (bigcode-project/starcoder, finetune: rank 16, alpha 32,
dropout 0.05, cosine decay). The pieces have holes as in `training.fim`, because the adapter is used
for completion. accelerate runs the loop: `accelerate launch -m lsp_server tune code PATH` uses
several GPUs, with DeepSpeed if accelerate's configuration says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from training.collect import CorpusDocument
from training.fim import FimIds, FimOptions, transform
from training.holes import LineHole, baseline_match_rate, sample_line_holes
from training.measure import FIM_FORMS, FimForm, measure_exact_match, measure_loss
from training.packing import Rows, cut_pieces, pack
from training.repository import RepositorySplit, read_repository, split_repository
from training.tokenizer import load_tokenizer
from training.tune_loop import add_adapter, load_base_model, train
from training.tune_options import MAX_LENGTH, TuneOptions

FIM_OPTIONS = FimOptions(rate=0.8, spm_rate=0.5, rest_of_line_rate=0.5, line_rate=1.0)

_NUM_PASSES = 4
"""Number of passes over the files, each with other pieces and other holes."""
_MIN_STEPS, _MAX_STEPS = 40, 1000
_LOSS_PIECES = 200
"""Maximum pieces of held-out text that the loss is measured on."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Results of a model on the held-out files."""

    exact_match: float
    """Share of lines completed exactly, 0 to 1: greedy, from a random column."""
    nats_per_token: float
    """Cross-entropy of text without holes."""

    def __str__(self) -> str:
        return f"{self.exact_match:.1%} of lines, {self.nats_per_token:.3f} nats per token"

    def is_better_than(self, other: Measurement) -> bool:
        """Whether the loss is lower and exact match is not lower."""
        return self.nats_per_token < other.nats_per_token and self.exact_match >= other.exact_match


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
    base: Path,
    repository: Path,
    out: Path,
    options: TuneOptions,
    say: Callable[[str], None] = print,
) -> TuneReport:
    """Tune the checkpoint in `base` on a repository; write the adapter or the weights to `out`.

    Held-out files are measured before and after. Raises ValueError if the repository or the model
    cannot be used.
    """
    disable_progress_bar()
    torch.manual_seed(options.seed)
    accelerator = Accelerator()
    say = say if accelerator.is_main_process else lambda _: None
    tokenizer = load_tokenizer(base / "tokenizer.json")
    files = split_repository(read_repository(repository), options.seed)
    holes = sample_line_holes(files.held_out, options.lines, random.Random(options.seed))
    if not holes:
        raise ValueError("The held-out files have no lines of code to measure with.")
    model = load_base_model(base, accelerator)
    length = min(MAX_LENGTH, int(model.config.max_position_embeddings))
    rows = make_repository_rows(files, tokenizer, length, options.seed)
    steps = options.steps if options.steps is not None else default_steps(len(rows), options)
    test = _HeldOutTest(tokenizer, holes, files.held_out, preferred_fim_form(model), options.seed)
    before = test.measure(model)
    say(f"before: {before}")
    trained = model if options.full else add_adapter(model, options)
    train(trained, rows, steps, options, accelerator, say)
    trained = accelerator.unwrap_model(trained)
    after = test.measure(trained)
    say(f"after: {after}")
    if accelerator.is_main_process:
        _save(trained, out, base, options)
    return TuneReport(
        before,
        after,
        baseline=round(baseline_match_rate(holes), 4),
        training_files=len(files.training),
        held_out_files=len(files.held_out),
        lines=len(holes),
        steps=steps,
    )


@dataclass(frozen=True, slots=True)
class _HeldOutTest:
    """The measurement of a model on held-out files."""

    tokenizer: tokenizers.Tokenizer
    holes: Sequence[LineHole]
    documents: Sequence[CorpusDocument]
    form: FimForm
    seed: int

    def measure(self, model: PreTrainedModel | PeftModel) -> Measurement:
        """Return exact match and loss of a model."""
        model.eval()
        numbers = measure_exact_match(model, self.tokenizer, self.holes, self.form)
        rng = random.Random(self.seed)
        loss = measure_loss(model, self.tokenizer, self.documents, _LOSS_PIECES, rng)
        return Measurement(numbers["exact_match"], loss["nats_per_token"])


def _save(model: PreTrainedModel | PeftModel, out: Path, base: Path, options: TuneOptions) -> None:
    model.save_pretrained(out, safe_serialization=True)
    if options.full:
        for file in base.glob("tokenizer*.json"):
            (out / file.name).write_bytes(file.read_bytes())


def preferred_fim_form(model: PreTrainedModel) -> FimForm:
    """Return the FIM form that the model's configuration names, or `line` if it names none.

    The product asks the model in the same form (`fim.request.model`).
    """
    name = getattr(model.config, "fim_form", "")
    return next((form for form in FIM_FORMS if form == name), "line")


def make_repository_rows(
    files: RepositorySplit, tokenizer: tokenizers.Tokenizer, length: int, seed: int
) -> Rows:
    """Return packed sequences of the training files: (count, length)."""
    rng = random.Random(seed)
    ids = FimIds.from_tokenizer(tokenizer)
    encoded = [
        transform(piece, tokenizer, ids, FIM_OPTIONS, rng)
        for document in files.training
        for _ in range(_NUM_PASSES)
        for piece in cut_pieces(document.text, int(length * 2.8), rng, "log-uniform")
        if piece.strip()
    ]
    rng.shuffle(encoded)
    packed = pack(encoded, length, rng)
    if not packed:
        raise ValueError("The files contain no text that fits the model's context window.")
    return np.stack(packed)


def default_steps(num_rows: int, options: TuneOptions) -> int:
    """Return the number of steps that read every row once, within bounds."""
    return min(_MAX_STEPS, max(_MIN_STEPS, num_rows // options.rows_per_step))
