"""`python -m training`: the steps of the recipe one by one, or `all` of them.

Each step reads the files that earlier steps wrote to `--folder`. `all` keeps an existing corpus
and tokenizer, and continues training from an existing checkpoint.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import typer

from training import options

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

STARTED_AT = time.monotonic()
"""Moment of the start of the process, from which the minutes of a run count."""

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
    processes: options.Processes = options.DEFAULT_PROCESSES,
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
        num_workers=processes,
    )
    typer.echo(f"documents: {report['documents']}")
    typer.echo(f"dialogues: {report['dialogues']}")


@app.command()
def pack(folder: options.Folder = options.DEFAULT_FOLDER) -> None:
    """Compress the corpus and its tokenizer to `pack/`, to move it to another machine."""
    from training.pack import write_pack

    for file in write_pack(folder, folder / "pack"):
        typer.echo(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")


@app.command()
def sample(
    target: options.SampleTarget,
    folder: options.Folder = options.DEFAULT_FOLDER,
    characters: options.Characters = 40_000_000,
    python_share: options.PythonShare = 0.6,
    seed: options.Seed = 0,
) -> None:
    """Write a sample of the corpus with another share of Python, for a short run."""
    from training.sample import write_sample

    sizes = write_sample(folder, target, characters, python_share, seed)
    typer.echo(f"characters: {sizes}")


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
    pack: options.Corpus = None,
    steps: options.Steps = None,
    minutes: options.Minutes = None,
    width: options.Width = 512,
    layers: options.Layers = 8,
    length: options.Length = 1024,
    rows_per_step: options.RowsPerStep = 8,
    rows_per_batch: options.RowsPerBatch = None,
    workers: options.Workers = None,
    muon: options.MuonRate = 0.02,
    adam: options.AdamRate = 3e-3,
    fim_rate: options.FimRate = None,
    initial: options.Initial = None,
    cpu: options.Cpu = False,
    seed: options.Seed = 0,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Train; run it again to continue after an interruption. On a CPU it has the lowest priority.

    Worker processes make the training sequences meanwhile.
    """
    from training.demo_run import DemoRunOptions
    from training.plan import LearningRates
    from training.session import pretrain as run

    settings = DemoRunOptions(
        folder,
        pack or folder,
        width,
        layers,
        length,
        steps,
        minutes,
        rows_per_step,
        rows_per_batch,
        workers,
        LearningRates(muon, adam),
        fim_rate,
        seed,
        initial,
    )
    run(settings, STARTED_AT, is_cpu=cpu, threads=threads, say=typer.echo)


@app.command()
def gpu_run(
    out: options.Out,
    pack: options.Corpus = None,
    folder: options.Folder = options.DEFAULT_FOLDER,
    minutes: options.Minutes = 6.0,
    width: options.Width = 512,
    layers: options.Layers = 8,
    length: options.Length = 1024,
    rows_per_step: options.RowsPerStep = 128,
    rows_per_batch: options.RowsPerBatch = None,
    workers: options.Workers = None,
    muon: options.MuonRate = 0.02,
    adam: options.AdamRate = 3e-3,
    checkpoint_seconds: options.CheckpointSeconds = 90.0,
    evaluate: options.Evaluated = 1000,
    human_eval: options.HumanEval = None,
    cpu: options.Cpu = False,
    seed: options.Seed = 0,
) -> None:
    """Train on a rented GPU: the weights in parts and the reports are written to --out.

    The parts are written at each checkpoint, and at the end of the minutes; then the checkpoint is
    evaluated. `join` makes the checkpoint from the parts.
    """
    from training.demo_run import DemoRunOptions
    from training.plan import LearningRates
    from training.session import Session

    settings = DemoRunOptions(
        folder,
        pack or folder,
        width,
        layers,
        length,
        None,
        minutes,
        rows_per_step,
        rows_per_batch,
        workers,
        LearningRates(muon, adam),
        seed=seed,
    )
    session = Session(settings, out, STARTED_AT, typer.echo, checkpoint_seconds)
    session.run(is_cpu=cpu)
    if evaluate:
        session.evaluate(evaluate, human_eval)


@app.command()
def join(parts: options.Parts, folder: options.Folder = options.DEFAULT_FOLDER) -> None:
    """Make the checkpoint and the reports of a run from the files that `gpu-run` wrote."""
    from training.session import receive

    receive(parts, folder)
    typer.echo(f"joined to {folder / 'checkpoint.pt'}")


@app.command()
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
        pack or folder,
        width,
        layers,
        length,
        rows_per_step=rows_per_step,
        workers=workers,
        rates=LearningRates(adam=adam),
    )
    state = PartialState(cpu=cpu)
    results = compare_rates(settings, muon or [0.01, 0.02, 0.04], seconds, state, say=typer.echo)
    if json_file:
        json_file.write_text(json.dumps(results, indent=1), encoding="utf-8")


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
    pack: options.Corpus = None,
    human_eval: options.HumanEval = None,
    count: options.Count = 1000,
    cpu: options.Cpu = False,
    bfloat16: options.Bfloat16 = False,
    seed: options.Seed = 0,
    threads: options.Threads = options.DEFAULT_THREADS,
) -> None:
    """Measure loss, exact match of single lines and dialogues on the held-out projects."""
    import torch

    from training.evaluate import evaluate as measure

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    measure(
        folder,
        corpus=pack,
        human_eval=human_eval,
        count=count,
        seed=seed,
        device=device,
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        say=typer.echo,
    )


@app.command()
def export(
    folder: options.Folder = options.DEFAULT_FOLDER,
    target: options.Target = None,
    pack: options.Corpus = None,
    remarks: options.Remarks = None,
) -> None:
    """Write the model, tokenizer, model card and measurements to the folder that ships."""
    from training.export import EMBEDDED
    from training.export import export as write

    text = remarks.read_text(encoding="utf-8") if remarks else ""
    exported = write(folder, target or EMBEDDED, pack, text)
    if target is None and (folder / LOSS_PLOT.name).exists():
        shutil.copyfile(folder / LOSS_PLOT.name, LOSS_PLOT)
    typer.echo(f"exported to {exported}")


@app.command(name="all")
def run_all(
    folder: options.Folder = options.DEFAULT_FOLDER,
    steps: options.Steps = None,
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
