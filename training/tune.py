"""Fine-tune a StarCoder on one repository, with files of it held out as the gate.

LoRA as in BigCode's fine-tuning (bigcode-project/starcoder, finetune: rank 16, alpha 32, dropout
0.05, cosine decay), on pieces with holes as in `training.fim`: the adapter is for completions.
accelerate runs the loop, so `accelerate launch -m lsp_server tune code PATH` spreads it over GPUs,
with DeepSpeed where accelerate's configuration says so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from training.fim import FimIds, FimOptions, transform
from training.measure import FORMS, Form, exact_match, held_out_loss
from training.packing import PAD, Rows, pack, pieces
from training.repository import Split, line_holes, read_repository, split
from training.tokenizer import load_tokenizer
from training.tune_options import LORA_TARGETS, MAX_LENGTH, TuneOptions

HOLES = FimOptions(rate=0.8, spm_rate=0.5, rest_of_line_rate=0.5, line_rate=1.0)

_WARM_UP = 0.1
_EPOCHS = 4
_STEPS = (40, 1000)
_SMALL = 100_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """How a model does on the held-out files."""

    exact_match: float
    """Share of lines completed exactly, 0 to 1, greedy, from a random column."""
    nats_per_token: float

    def is_better_than(self, other: Measured) -> bool:
        """Whether it is likelier to have written the files, and completes no fewer lines."""
        return self.nats_per_token < other.nats_per_token and self.exact_match >= other.exact_match


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What came of it."""

    before: Measured
    after: Measured
    baseline: float
    """Exact match of an editor that repeats the latest line that begins so."""
    training_files: int
    held_out_files: int
    lines: int
    steps: int

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
    """Tune the checkpoint in `base` on a repository; write what was learned to `out`.

    Measures on held-out files before and after. Raises ValueError for a repository or a model that
    cannot be used.
    """
    disable_progress_bar()
    torch.manual_seed(options.seed)
    accelerator = Accelerator()
    say = say if accelerator.is_main_process else lambda _: None
    tokenizer = load_tokenizer(base / "tokenizer.json")
    files = split(read_repository(repository), options.seed)
    rng = random.Random(options.seed)
    holes = line_holes(files.held_out, options.lines, rng)
    if not holes:
        raise ValueError("The held-out files have no lines of code to measure with.")
    model = _load(base, accelerator)
    length = min(MAX_LENGTH, int(model.config.max_position_embeddings))
    rows = repository_rows(files, tokenizer, length, options.seed)
    steps = options.steps if options.steps is not None else default_steps(len(rows), options)
    form = form_of(model)

    def measure(measured: Any) -> tuple[Measured, float]:
        measured.eval()
        numbers = exact_match(measured, tokenizer, holes, form)
        loss = held_out_loss(measured, tokenizer, files.held_out, 200, random.Random(options.seed))
        found = Measured(numbers["exact_match"], loss["nats_per_token"])
        return found, numbers["baseline_exact_match"]

    before, baseline = measure(model)
    say(f"before: {before.exact_match:.1%} of lines, {before.nats_per_token:.3f} nats a token")
    trained = model if options.full else _with_adapter(model, options)
    train(trained, rows, steps, options, accelerator, say)
    inner = accelerator.unwrap_model(trained)
    after, _ = measure(inner)
    say(f"after: {after.exact_match:.1%} of lines, {after.nats_per_token:.3f} nats a token")
    if accelerator.is_main_process:
        inner.save_pretrained(out, safe_serialization=True)
        if options.full:
            for file in base.glob("tokenizer*.json"):
                (out / file.name).write_bytes(file.read_bytes())
    return TuneReport(
        before, after, baseline, len(files.training), len(files.held_out), len(holes), steps
    )


def form_of(model: Any) -> Form:
    """Return the form that the model says it fills best, as the product asks it."""
    return next((form for form in FORMS if form == getattr(model.config, "fim_form", "")), "line")


def repository_rows(files: Split, tokenizer: tokenizers.Tokenizer, length: int, seed: int) -> Rows:
    """Return packed sequences of the files to learn from: (count, length)."""
    rng = random.Random(seed)
    ids = FimIds.of(tokenizer)
    encoded = [
        transform(piece, tokenizer, ids, HOLES, rng)
        for document in files.training
        for _ in range(_EPOCHS)  # each pass with other cuts and other holes
        for piece in pieces(document.text, int(length * 2.8), rng, "log-uniform")
        if piece.strip()
    ]
    rng.shuffle(encoded)
    packed = list(pack(encoded, length))
    if not packed:
        raise ValueError("The files hold nothing that fits the model's window.")
    return np.stack(packed)


def default_steps(rows: int, options: TuneOptions) -> int:
    """Return the steps that read every row once, within bounds."""
    least, most = _STEPS
    return min(most, max(least, rows // options.rows_per_step))


def train(
    model: Any,
    rows: Rows,
    steps: int,
    options: TuneOptions,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> None:
    """Run the optimiser over the rows; they begin again where they end."""
    model.train()
    model.config.use_cache = False
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, learning_rate(model, options), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, steps))
    dataset = TensorDataset(torch.from_numpy(rows.astype(np.int64)))
    batch = max(1, options.rows_per_step // accelerator.num_processes)
    generator = torch.Generator().manual_seed(options.seed)
    loader = DataLoader(dataset, batch, shuffle=True, generator=generator)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    done = 0
    while done < steps:
        for (ids,) in loader:
            with accelerator.autocast(), _bfloat16(accelerator):
                logits = model(input_ids=torch.where(ids == int(PAD), 0, ids)[:, :-1]).logits
            labels = torch.where(ids == int(PAD), -100, ids)[:, 1:]
            loss = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            if done % 10 == 0 or done == steps:
                say(f"step {done}/{steps} loss {float(loss.detach()):.3f}")
            if done == steps:
                break


def learning_rate(model: Any, options: TuneOptions) -> float:
    """Return the peak rate: the one asked for, or one for the size of the model."""
    if options.learning_rate is not None:
        return options.learning_rate
    small = sum(parameter.numel() for parameter in model.parameters()) < _SMALL
    rate = 2e-3 if small else 3e-4
    return rate / 10 if options.full else rate


def _cosine(step: int, steps: int) -> float:
    warm = max(1, int(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _bfloat16(accelerator: Accelerator) -> Any:
    """Products in bfloat16 where weights are float32; on a GPU weights are bfloat16 already."""
    return torch.autocast(accelerator.device.type, torch.bfloat16)


def _load(base: Path, accelerator: Accelerator) -> Any:
    on_gpu = accelerator.device.type == "cuda"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.bfloat16 if on_gpu else torch.float32, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{base} cannot be tuned: {error}") from error
    return model.to(accelerator.device)


def _with_adapter(model: Any, options: TuneOptions) -> Any:
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(LORA_TARGETS),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    if model.dtype == torch.bfloat16:  # the adapter itself learns in full precision
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return adapted
