"""Commands that help to choose a model, its vocabulary and its learning rates, and to compare them.

They are commands of `python -m training`, and no steps of the recipe.
"""

from __future__ import annotations

import typer

from training import options


def rates(
    folder: options.Folder = options.DEFAULT_FOLDER,
    pack: options.Corpus = None,
    muon: options.MuonRates = None,
    adam: options.AdamRate = 3e-3,
    seconds: options.RunSeconds = 20.0,
    width: options.Width = 512,
    layers: options.Layers = 8,
    length: options.Length = 1024,
    rows_per_step: options.RowsPerStep = 8,
    workers: options.Workers = None,
    cpu: options.Cpu = False,
    json_file: options.JsonFile = None,
) -> None:
    """Compare learning rates of Muon by short runs and their loss on held-out Python."""
    import json

    from accelerate import PartialState

    from training.demo_run import DemoRunOptions
    from training.plan import LearningRates
    from training.rates import compare_rates

    settings = DemoRunOptions(
        folder,
        corpus=pack or folder,
        width=width,
        layers=layers,
        length=length,
        rows_per_step=rows_per_step,
        workers=workers,
        rates=LearningRates(adam=adam),
    )
    state = PartialState(cpu=cpu)
    results = compare_rates(settings, muon or [0.01, 0.02, 0.04], seconds, state, say=typer.echo)
    if json_file:
        json_file.write_text(json.dumps(results, indent=1), encoding="utf-8")


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


def throughput(
    shape: options.Shapes = None,
    rows_per_step: options.RowCounts = None,
    eager: options.Eager = False,
    vocab_size: options.VocabSize = 12292,
    length: options.Length = 1024,
    num_steps: options.NumSteps = 40,
    seconds: options.Seconds = 10.0,
    cpu: options.Cpu = False,
    json_file: options.JsonFile = None,
) -> None:
    """Measure the speed of training steps on random data: tokens per second, memory, compilation.

    Results are written after each configuration.
    """
    import json

    from accelerate import PartialState

    from training.model import ModelShape
    from training.throughput import describe, measure

    state, results = PartialState(cpu=cpu), []
    for width, layers in map(options.parse_shape, shape or ["512x8"]):
        size = ModelShape(width, layers, length, vocab_size)
        for count in rows_per_step or [64, 128]:
            for is_compiled in (True, False) if eager else (True,):
                result = measure(
                    size,
                    count,
                    state,
                    is_compiled=is_compiled,
                    num_steps=num_steps,
                    max_seconds=seconds,
                    say=typer.echo,
                )
                results.append(describe(result))
                typer.echo(json.dumps(results[-1]))
                if json_file:
                    json_file.write_text(json.dumps(results, indent=1), encoding="utf-8")


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
