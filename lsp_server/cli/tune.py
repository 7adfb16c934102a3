"""`starcoder-lsp tune code PATH`: an adapter for one repository, served if it helps."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.errors import ConfigurationError, ModelError, OutOfMemoryError
from engine.loading.adapter_store import (
    AdapterNote,
    adapters,
    adapters_dir,
    check_name,
    fingerprint,
    install,
)
from engine.settings import EngineSettings
from lsp_server.cli import common, tune_chat

if TYPE_CHECKING:
    from training.tune import TuneReport
    from training.tune_options import TuneOptions

app = typer.Typer(
    no_args_is_help=True,
    help="Teach the model a repository or dialogues, and see whether that helped.",
)
app.command()(tune_chat.chat)

Steps = Annotated[
    int | None, typer.Option(min=1, help="Optimiser steps; by default four passes over the files.")
]
Rank = Annotated[int, typer.Option(min=1, max=256, help="Rank of the adapter.")]
Rate = Annotated[
    float | None, typer.Option("--learning-rate", min=1e-7, help="By default chosen by size.")
]
Rows = Annotated[
    int, typer.Option(min=1, help="Sequences of 1,024 tokens a step; fewer need less memory.")
]
Full = Annotated[
    Path | None,
    typer.Option("--full", metavar="FOLDER", help="Train all weights, into a checkpoint there."),
]


@app.command()
def code(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The repository.")],
    name: Annotated[
        str | None, typer.Option(help="Of the adapter; by default the folder's.")
    ] = None,
    model: common.Model = common.DEFAULT_MODEL,
    offline: common.Offline = False,
    steps: Steps = None,
    rank: Rank = 16,
    learning_rate: Rate = None,
    rows_per_step: Rows = 8,
    full: Full = None,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Serve it even if it did not help.")
    ] = False,
) -> None:
    """Tune on the source files of a repository; a part of them measures whether it helped.

    What helped is served under its name at once: set `starcoder.adapter` to it in your editor.
    """
    with common.plain_errors():
        common.require_training_packages()
        from accelerate import PartialState

        from engine.loading.locate import locate
        from training.tune import tune
        from training.tune_options import TuneOptions

        name = check_name(name or path.resolve().name)
        base_name, base = locate(EngineSettings(model=model, offline=offline), lambda *_: None)
        options = TuneOptions(
            steps=steps,
            rank=rank,
            learning_rate=learning_rate,
            rows_per_step=rows_per_step,
            full=full is not None,
        )
        _check_memory(base_name, base, options)
        say = common.stderr().print
        with tempfile.TemporaryDirectory() as scratch:
            made = full or Path(scratch) / "adapter"
            try:
                report = tune(base, path, made, options, say)
            except ValueError as error:
                raise ConfigurationError(str(error)) from None
            if not PartialState().is_main_process:
                return  # of several processes, one tells and installs
            _show(report)
            if full is not None:
                _say(f"The tuned model is in {full}: set starcoder.model to that folder.")
            elif report.is_improved or keep_anyway:
                note = AdapterNote(base_name, fingerprint(base), asdict(report))
                install(made, name, note)
                _say(f'Served from now on as {name}: set "starcoder.adapter": "{name}".')
            else:
                _say("It did not help on the held-out files, so it is not served.")
                raise typer.Exit(2)


@app.command(name="list")
def list_() -> None:
    """List the adapters on this machine, with what they gained."""
    table = Table(title=f"Adapters in {adapters_dir()}", title_justify="left")
    for column in ("name", "for", "lines before", "after", "nats before", "after"):
        table.add_column(column, overflow="fold")
    for one in adapters():
        report = one.note.report
        before, after = report.get("before", {}), report.get("after", {})
        if "perplexity_before" in report:
            talk = (f"{report[f'perplexity_{when}']:.2f}" for when in ("before", "after"))
            table.add_row(one.name, one.note.base, "chat: perplexity", "", *talk)
            continue
        table.add_row(
            one.name,
            one.note.base,
            *(f"{side['exact_match']:.1%}" if side else "" for side in (before, after)),
            *(f"{side['nats_per_token']:.3f}" if side else "" for side in (before, after)),
        )
    Console(highlight=False).print(table)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Name of the adapter.")]) -> None:
    """Delete an adapter."""
    import shutil

    with common.plain_errors():
        folder = adapters_dir() / check_name(name)
        if not folder.is_dir():
            raise ConfigurationError(f"There is no adapter {name!r} in {adapters_dir()}.")
        shutil.rmtree(folder)


def _check_memory(name: str, base: Path, options: TuneOptions) -> None:
    """Raise OutOfMemoryError before anything is loaded, if it cannot fit."""
    from engine.loading.model_size import free_memory, human, parameter_count
    from training.tune_options import estimate_memory_bytes

    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        needed = estimate_memory_bytes(
            parameter_count(config),
            config["n_layer"],
            config["n_embd"],
            config["vocab_size"],
            options,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name} cannot be tuned: it is no StarCoder ({error}).") from None
    memory = free_memory()
    free = memory.largest_gpu or memory.cpu
    common.stderr().print(f"Tuning {name} needs about {human(needed)}; {human(free)} is free.")
    if needed > free:
        raise OutOfMemoryError(
            f"Tuning {name} needs about {human(needed)}, but {human(free)} is free. Try "
            "--rows-per-step 1, or a smaller model."
        )


def _show(report: TuneReport) -> None:
    held, learned = report.held_out_files, report.training_files
    table = Table(title=f"{held} files held out of {held + learned}", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column)
    before, after = report.before, report.after
    lines = f"rest of {report.lines} lines, exact"
    table.add_row(lines, f"{before.exact_match:.1%}", f"{after.exact_match:.1%}")
    table.add_row("nats a token", f"{before.nats_per_token:.3f}", f"{after.nats_per_token:.3f}")
    table.add_row("repeating the latest line", f"{report.baseline:.1%}", f"{report.baseline:.1%}")
    Console(highlight=False).print(table)


def _say(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True)
