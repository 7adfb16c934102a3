"""`python -m training`: the steps of the recipe one by one, or `all` of them.

Each step reads the files that earlier steps wrote to `--folder`. `all` keeps an existing corpus
and tokenizer, and continues training from an existing checkpoint.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import typer

from training import comparisons, options

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
        corpus=pack or folder,
        width=width,
        layers=layers,
        length=length,
        steps=steps,
        minutes=minutes,
        rows_per_step=rows_per_step,
        rows_per_batch=rows_per_batch,
        workers=workers,
        rates=LearningRates(muon, adam),
        fim_rate=fim_rate,
        seed=seed,
        initial=initial,
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
        corpus=pack or folder,
        width=width,
        layers=layers,
        length=length,
        minutes=minutes,
        rows_per_step=rows_per_step,
        rows_per_batch=rows_per_batch,
        workers=workers,
        rates=LearningRates(muon, adam),
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


for command in (
    comparisons.rates,
    comparisons.scaling,
    comparisons.throughput,
    comparisons.vocabulary,
    comparisons.losses,
):
    app.command()(command)

if __name__ == "__main__":
    app()
