"""`python -m training`: the steps of the recipe one by one, or `all` of them.

Each step reads the files that earlier steps wrote to `--folder`. `all` keeps an existing corpus
and tokenizer, and continues training from an existing checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import typer

from training import options
from training.recipe import STEPS

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

LOSS_PLOT = Path(__file__).parent / "loss.png"


@app.command()
def sources(folder: options.Folder = options.DEFAULT_FOLDER) -> None:
    """Download the packages of the recipe as source code; none of it is run."""
    from training.sources import download

    download(folder / "sources", say=typer.echo)


@app.command()
def collect(
    folder: options.Folder = options.DEFAULT_FOLDER,
    benchmark: options.Benchmarks = None,
    history: options.Histories = None,
    seed: options.Seed = 0,
    workers: options.Workers = options.DEFAULT_WORKERS,
) -> None:
    """Read permissively licensed source, filter it, hold out projects, mine dialogues."""
    from training.prepare import write_corpus

    downloads = folder / "sources"
    report = write_corpus(
        folder,
        seed,
        downloads=downloads if downloads.exists() else None,
        benchmarks=benchmark or (),
        histories=history or (Path(),),
        num_workers=workers,
    )
    typer.echo(f"documents: {report['documents']}")
    typer.echo(f"dialogues: {report['dialogues']}")


@app.command()
def tokenizer(
    folder: options.Folder = options.DEFAULT_FOLDER, vocab_size: options.VocabSize = 12288
) -> None:
    """Train the tokenizer on the corpus."""
    from training.prepare import write_tokenizer

    trained = write_tokenizer(folder, vocab_size)
    typer.echo(f"tokenizer: {trained.get_vocab_size()} ids")


@app.command()
def pretrain(
    folder: options.Folder = options.DEFAULT_FOLDER,
    steps: options.Steps = STEPS,
    length: options.Length = 1024,
    fim_rate: options.FimRate = None,
    weights: options.Weights = None,
    cpu: options.Cpu = False,
    seed: options.Seed = 0,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Make the training sequences and train; run it again to continue after an interruption."""
    import torch
    from accelerate import PartialState

    from training.demo_run import make_demo_run
    from training.plot import plot_loss
    from training.pretrain import train
    from training.tokenizer import load_tokenizer

    torch.set_num_threads(threads)
    encoder = load_tokenizer(folder / "tokenizer.json")
    state = PartialState(cpu=cpu)
    run = make_demo_run(
        folder,
        encoder,
        state,
        steps=steps,
        length=length,
        seed=seed,
        fim_rate=fim_rate,
        weights=weights,
    )
    train(run, folder / "checkpoint.pt", folder / "loss.jsonl", say=typer.echo)
    if state.is_main_process:
        tokens_per_step = run.plan.rows_per_step * length
        plot_loss(folder / "loss.jsonl", folder / LOSS_PLOT.name, tokens_per_step)


@app.command()
def scaling(
    folder: options.Folder = options.DEFAULT_FOLDER,
    budget: options.Budgets = None,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Train small models on several budgets and predict the loss for more compute."""
    import torch

    from training.scaling import fit_law, measure_points

    torch.set_num_threads(threads)
    budgets = budget or [1_000_000, 2_000_000, 4_000_000]
    law = fit_law(measure_points(folder, budgets, say=typer.echo))
    typer.echo(f"{law}")
    for compute in (1e15, 1e16, 1e17, 1e18):
        weights = law.best_weights(compute)
        tokens = compute / 6 / weights
        loss = law.loss(weights, tokens)
        typer.echo(f"{compute:.0e}: {weights:.2e} weights, {tokens:.2e} tokens, {loss:.3f} nats")


@app.command()
def vocabulary(folder: options.Folder = options.DEFAULT_FOLDER, size: options.Sizes = None) -> None:
    """Train tokenizers of several sizes and print the characters per token of each."""
    from training.tokenizer import load_tokenizer
    from training.vocabulary import characters_per_token, train_sample_tokenizers

    trained = train_sample_tokenizers(folder, size or [8192, 12288, 16384])
    for num_ids, encoder in trained.items():
        means = characters_per_token(folder, encoder)
        typer.echo(f"{num_ids} ids: {means} characters per token")
    if (folder / "tokenizer.json").exists():
        means = characters_per_token(folder, load_tokenizer(folder / "tokenizer.json"))
        typer.echo(f"this run's: {means}")


@app.command()
def losses(
    checkpoints: options.Checkpoints,
    folder: options.Folder = options.DEFAULT_FOLDER,
    count: options.Count = 150,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Print the loss of checkpoints on held-out Python, to compare numbers of steps."""
    import random

    import torch

    from training.checkpoint import load_checkpoint
    from training.corpus import load_held_out
    from training.measure import measure_loss
    from training.tokenizer import load_tokenizer

    torch.set_num_threads(threads)
    encoder = load_tokenizer(folder / "tokenizer.json")
    documents = [d for d in load_held_out(folder) if d.language == "python"]
    for file in checkpoints:
        checkpoint = load_checkpoint(file)
        loss = measure_loss(checkpoint.model, encoder, documents, count, random.Random(0))
        typer.echo(f"step {checkpoint.step}: {loss}")


@app.command()
def evaluate(
    folder: options.Folder = options.DEFAULT_FOLDER,
    human_eval: options.HumanEval = None,
    count: options.Count = 1000,
    seed: options.Seed = 0,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Measure loss, exact match of single lines and dialogues on the held-out projects."""
    import torch

    from training.evaluate import evaluate as measure

    torch.set_num_threads(threads)
    measure(folder, human_eval=human_eval, count=count, seed=seed, say=typer.echo)


@app.command()
def export(folder: options.Folder = options.DEFAULT_FOLDER, target: options.Target = None) -> None:
    """Write the model, tokenizer, model card and measurements to the folder that ships."""
    from training.export import EMBEDDED
    from training.export import export as write

    exported = write(folder, target or EMBEDDED)
    if target is None and (folder / LOSS_PLOT.name).exists():
        shutil.copyfile(folder / LOSS_PLOT.name, LOSS_PLOT)
    typer.echo(f"exported to {exported}")


@app.command(name="all")
def run_all(
    folder: options.Folder = options.DEFAULT_FOLDER,
    steps: options.Steps = STEPS,
    fim_rate: options.FimRate = None,
    human_eval: options.HumanEval = None,
    target: options.Target = None,
    download: options.Download = True,
    benchmark: options.Benchmarks = None,
    history: options.Histories = None,
    seed: options.Seed = 0,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Run all steps: sources, collect, tokenizer, pretrain, evaluate, export."""
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
