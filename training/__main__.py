"""`python -m training`: the recipe step by step, or `all` of it.

Each step reads what the one before it wrote to `--folder`. `all` keeps a corpus and a tokenizer
that are there already, and training goes on from its checkpoint.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from training.recipe import STEPS

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

PICTURE = Path(__file__).parent / "loss.png"
_HUMAN_EVAL = "HumanEval-SingleLineInfilling.jsonl.gz"

Folder = Annotated[Path, typer.Option(help="Where a run keeps everything it makes.")]
Seed = Annotated[int, typer.Option(help="Of the sampling, or of the first weights.")]
FimRate = Annotated[
    float | None, typer.Option(help="Share of pieces with a hole, for the recipe's.", min=0, max=1)
]
Length = Annotated[int, typer.Option(help="Tokens in a training sequence, and positions.")]
Vocab = Annotated[int, typer.Option(help="Ids of the tokenizer, special tokens included.")]
Steps = Annotated[int, typer.Option(help="Optimiser steps of 8 sequences.", min=1)]
Count = Annotated[int, typer.Option(help="Lines to complete.", min=8)]
Threads = Annotated[int, typer.Option(help="CPU threads.", min=1)]
Target = Annotated[Path | None, typer.Option(help="Instead of engine/embedded.")]
HumanEval = Annotated[
    Path | None, typer.Option(help=f"{_HUMAN_EVAL}; left out of the numbers if absent.")
]

_FOLDER = Path("runs/demo")
_CORES = max(1, (os.cpu_count() or 2) - 1)


@app.command()
def collect(folder: Folder = _FOLDER, seed: Seed = 0) -> None:
    """Read permissively licensed Python on this machine, filter it, set projects aside."""
    from training.prepare import write_corpus

    report = write_corpus(folder, seed)
    typer.echo(f"documents: {report['documents']}")


@app.command()
def tokenizer(folder: Folder = _FOLDER, vocab_size: Vocab = 8192) -> None:
    """Train the tokenizer on the corpus."""
    from training.prepare import write_tokenizer

    made = write_tokenizer(folder, vocab_size)
    typer.echo(f"tokenizer: {made.get_vocab_size()} ids")


@app.command()
def pretrain(
    folder: Folder = _FOLDER,
    steps: Steps = STEPS,
    length: Length = 1024,
    fim_rate: FimRate = None,
    seed: Seed = 0,
    threads: Threads = _CORES,
) -> None:
    """Make the training sequences and train; run it again to go on after an interruption."""
    import torch

    from training.model import Shape
    from training.plot import plot_loss
    from training.prepare import rows_for
    from training.pretrain import Part, Plan, Run, train
    from training.recipe import schedule, stages
    from training.tokenizer import load_tokenizer

    torch.set_num_threads(threads)
    encoder = load_tokenizer(folder / "tokenizer.json")
    parts: list[Part] = []
    for number, stage in enumerate(stages(steps, fim_rate), start=1):
        rows = rows_for(folder, encoder, length, number, stage)
        until = stage.steps + (parts[-1].until if parts else 0)
        parts.append(Part(rows, until, stage.middle_weight, stage.opening_weight))
    shape = Shape(positions=length, vocab_size=encoder.get_vocab_size())
    plan = Plan(steps=steps, schedule=schedule(steps), seed=seed)
    train(Run(shape, plan, parts), folder / "checkpoint.pt", folder / "loss.jsonl", say=typer.echo)
    plot_loss(folder / "loss.jsonl", folder / PICTURE.name, plan.rows_per_step * length)


@app.command()
def evaluate(
    folder: Folder = _FOLDER,
    human_eval: HumanEval = None,
    count: Count = 1000,
    seed: Seed = 0,
    threads: Threads = _CORES,
) -> None:
    """Measure loss and exact match of single lines on the projects set aside."""
    import torch

    from training.evaluate import evaluate as measure

    torch.set_num_threads(threads)
    measure(folder, human_eval=human_eval, count=count, seed=seed, say=typer.echo)


@app.command()
def export(folder: Folder = _FOLDER, target: Target = None) -> None:
    """Write the model, its tokenizer, its card and its numbers to where the product finds them."""
    from training.export import EMBEDDED
    from training.export import export as write

    written = write(folder, target or EMBEDDED)
    if target is None and (folder / PICTURE.name).exists():
        shutil.copyfile(folder / PICTURE.name, PICTURE)
    typer.echo(f"exported to {written}")


@app.command(name="all")
def everything(
    folder: Folder = _FOLDER,
    steps: Steps = STEPS,
    fim_rate: FimRate = None,
    human_eval: HumanEval = None,
    target: Target = None,
    seed: Seed = 0,
    threads: Threads = _CORES,
) -> None:
    """Do all steps: collect, tokenizer, pretrain, evaluate, export."""
    if not (folder / "corpus.json").exists():
        collect(folder, seed)
    if not (folder / "tokenizer.json").exists():
        tokenizer(folder)
    pretrain(folder, steps=steps, fim_rate=fim_rate, seed=seed, threads=threads)
    evaluate(folder, human_eval=human_eval, seed=seed, threads=threads)
    export(folder, target)


if __name__ == "__main__":
    app()
