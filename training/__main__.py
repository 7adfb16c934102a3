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
Benchmarks = Annotated[
    list[Path] | None,
    typer.Option(
        "--benchmark", help="JSON lines as HumanEval's: documents that contain its texts go."
    ),
]
Histories = Annotated[
    list[Path] | None,
    typer.Option("--history", help="Git repository to learn commits from; this one if none."),
]
Download = Annotated[
    bool, typer.Option(help="Get the packages that the recipe names; else what is here is read.")
]
Budgets = Annotated[
    list[int] | None, typer.Option("--budget", min=1, help="Tokens of a run; give it repeatedly.")
]
Sizes = Annotated[list[int] | None, typer.Option("--size", min=300, help="Ids of a tokenizer.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Leave a GPU alone.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="A model made by earlier legs of the recipe: only the last leg is run."),
]
Target = Annotated[Path | None, typer.Option(help="Instead of engine/embedded.")]
HumanEval = Annotated[
    Path | None, typer.Option(help=f"{_HUMAN_EVAL}; left out of the numbers if absent.")
]

_FOLDER = Path("runs/demo")
_CORES = max(1, (os.cpu_count() or 2) - 1)


@app.command()
def sources(folder: Folder = _FOLDER) -> None:
    """Download the packages that the recipe names, to read them; nothing of them is run."""
    from training.sources import download

    download(folder / "sources", say=typer.echo)


@app.command()
def collect(
    folder: Folder = _FOLDER,
    benchmark: Benchmarks = None,
    history: Histories = None,
    seed: Seed = 0,
) -> None:
    """Read permissively licensed source, filter it, set projects aside, mine dialogues."""
    from training.prepare import write_corpus

    downloads = folder / "sources"
    report = write_corpus(
        folder,
        seed,
        downloads=downloads if downloads.exists() else None,
        benchmarks=benchmark or (),
        histories=history or (Path(),),
    )
    typer.echo(f"documents: {report['documents']}")
    typer.echo(f"dialogues: {report['dialogues']}")


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
    weights: Weights = None,
    cpu: Cpu = False,
    seed: Seed = 0,
    threads: Threads = _CORES,
) -> None:
    """Make the training sequences and train; run it again to go on after an interruption."""
    import torch
    from accelerate import PartialState

    from training.model import Shape, start_from
    from training.plot import plot_loss
    from training.pretrain import Marks, Part, Plan, Run, train
    from training.recipe import legs, schedule, stages
    from training.rows import rows_for
    from training.tokenizer import load_tokenizer

    torch.set_num_threads(threads)
    encoder = load_tokenizer(folder / "tokenizer.json")
    first = legs(steps)[-1] if weights else 0
    state = PartialState(cpu=cpu)
    parts: list[Part] = []
    until = 0
    for number, stage in enumerate(stages(steps, fim_rate), start=1):
        until += stage.steps
        if until > first:
            with state.main_process_first():
                rows = rows_for(folder, encoder, length, number, stage)
            parts.append(
                Part(rows, until, stage.middle_weight, stage.opening_weight, Marks.of(encoder))
            )
    shape = Shape(positions=length, vocab_size=encoder.get_vocab_size())
    plan = Plan(
        steps=steps, schedule=schedule(steps), legs=legs(steps), first_step=first, seed=seed
    )
    run = Run(shape, plan, parts, state)
    if weights:
        start_from(run.model, weights)
    train(run, folder / "checkpoint.pt", folder / "loss.jsonl", say=typer.echo)
    if state.is_main_process:
        plot_loss(folder / "loss.jsonl", folder / PICTURE.name, plan.rows_per_step * length)


@app.command()
def scaling(folder: Folder = _FOLDER, budget: Budgets = None, threads: Threads = _CORES) -> None:
    """Train small models on several budgets and foretell what more compute would give."""
    import torch

    from training.scaling import fit, run_points

    torch.set_num_threads(threads)
    budgets = budget or [1_000_000, 2_000_000, 4_000_000]
    law = fit(run_points(folder, budgets, say=typer.echo))
    typer.echo(f"{law}")
    for compute in (1e15, 1e16, 1e17, 1e18):
        weights = law.best_weights(compute)
        tokens = compute / 6 / weights
        loss = law.loss(weights, tokens)
        typer.echo(f"{compute:.0e}: {weights:.2e} weights, {tokens:.2e} tokens, {loss:.3f} nats")


@app.command()
def vocabulary(folder: Folder = _FOLDER, size: Sizes = None) -> None:
    """Train tokenizers of several sizes and show how densely each encodes the corpus."""
    from training.rows import average_characters, sampled_tokenizer

    for ids in size or [4096, 8192, 16384]:
        dense = average_characters(folder, sampled_tokenizer(folder, ids))
        typer.echo(f"{ids} ids: {dense} characters a token")
    if (folder / "tokenizer.json").exists():
        from training.tokenizer import load_tokenizer

        dense = average_characters(folder, load_tokenizer(folder / "tokenizer.json"))
        typer.echo(f"this run's: {dense}")


@app.command()
def losses(
    checkpoints: Annotated[list[Path], typer.Argument(help="Copies of checkpoint.pt.")],
    folder: Folder = _FOLDER,
    count: Count = 150,
    threads: Threads = _CORES,
) -> None:
    """Print the loss of checkpoints on held-out Python: what more steps gave."""
    import random

    import torch

    from training.export import load_model
    from training.measure import held_out_loss
    from training.prepare import read_documents
    from training.tokenizer import load_tokenizer

    torch.set_num_threads(threads)
    encoder = load_tokenizer(folder / "tokenizer.json")
    documents = [d for d in read_documents(folder / "held_out.jsonl") if d.language == "python"]
    for checkpoint in checkpoints:
        model, state = load_model(checkpoint)
        loss = held_out_loss(model, encoder, documents, count, random.Random(0))
        typer.echo(f"step {state['step']}: {loss}")


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
    download: Download = True,
    benchmark: Benchmarks = None,
    history: Histories = None,
    seed: Seed = 0,
    threads: Threads = _CORES,
) -> None:
    """Do all steps: sources, collect, tokenizer, pretrain, evaluate, export."""
    if not (folder / "corpus.json").exists():
        if download:
            sources(folder)
        collect(folder, benchmark, history, seed)
    if not (folder / "tokenizer.json").exists():
        tokenizer(folder)
    pretrain(folder, steps=steps, fim_rate=fim_rate, seed=seed, threads=threads)
    evaluate(folder, human_eval=human_eval, seed=seed, threads=threads)
    export(folder, target)


if __name__ == "__main__":
    app()
