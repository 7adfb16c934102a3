"""`starcoder-lsp tune code PATH`: train an adapter for a repository, and serve it if it helps."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import ConfigurationError, OutOfMemoryError
from engine.loading.adapter_servers import VllmSupport, vllm_support
from engine.loading.adapter_store import (
    AdapterFolder,
    AdapterNote,
    adapters,
    adapters_dir,
    check_name,
    fingerprint,
    install,
)
from engine.settings import EngineSettings
from lsp_server.cli import common, terminal, tune_chat, tune_merge
from lsp_server.cli.adapter_cards import code_adapter_card, serving_advice
from lsp_server.cli.outputs import check_output_folder

if TYPE_CHECKING:
    from engine.loading.trainable import TrainableModel
    from fim.training.options import TuneOptions
    from fim.training.tune import TuneReport

app = typer.Typer(
    no_args_is_help=True,
    help="Train the model on a repository or on dialogues, and measure whether that helped.",
)
app.command()(tune_chat.chat)
app.command()(tune_merge.merge)

Steps = Annotated[
    int | None, typer.Option(min=1, help="Optimiser steps. Default: four passes over the files.")
]
Rank = Annotated[int, typer.Option(min=1, max=256, help="Rank of the adapter.")]
Rate = Annotated[
    float | None,
    typer.Option("--learning-rate", min=1e-7, help="Learning rate. Default: chosen by model size."),
]
Rows = Annotated[
    int, typer.Option(min=1, help="Sequences of 1,024 tokens per step; fewer need less memory.")
]
Lines = Annotated[
    int,
    typer.Option(
        min=1, help="Held-out lines to measure with; fewer take less time and are less accurate."
    ),
]
Full = Annotated[
    Path | None,
    typer.Option(
        "--full", metavar="FOLDER", help="Train all weights, and write a checkpoint to this folder."
    ),
]


@app.command()
def code(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the repository.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the adapter. Default: the name of the folder.")
    ] = None,
    model: common.Model = common.DEFAULT_MODEL,
    offline: common.Offline = False,
    steps: Steps = None,
    rank: Rank = 16,
    learning_rate: Rate = None,
    rows_per_step: Rows = 8,
    lines: Lines = 300,
    full: Full = None,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Serve the adapter even if it did not help.")
    ] = False,
) -> None:
    """Train an adapter on a repository, and measure on held-out files whether it helped.

    The model may be of any architecture that starcoder-lsp computes itself, with safetensors
    weights; docs/tune.md lists them. An adapter that helped is served under its name immediately.
    To use it, set `starcoder.adapter` to the name in your editor.
    """
    with common.plain_errors():
        check_output_folder(full, "--full")
        common.require_training_packages()
        from fim.training.options import TuneOptions

        options = TuneOptions(
            steps=steps,
            rank=rank,
            learning_rate=learning_rate,
            rows_per_step=rows_per_step,
            full=full is not None,
            lines=lines,
        )
        name = check_name(name or path.resolve().name)
        settings = EngineSettings(model=model, offline=offline)
        _tune(path, name, settings, options, full, keep_anyway=keep_anyway)


def _tune(
    path: Path,
    name: str,
    settings: EngineSettings,
    options: TuneOptions,
    full: Path | None,
    *,
    keep_anyway: bool,
) -> None:
    """Train, print the report, and install the adapter if it helped."""
    from accelerate import PartialState

    from engine.loading.trainable import locate_trainable
    from fim.training.tune import tune

    base = locate_trainable(settings, lambda *_: None)
    _check_memory(base, options)
    with tempfile.TemporaryDirectory() as scratch:
        result = full or Path(scratch) / "adapter"
        try:
            report = tune(base, path, result, options, common.stderr().print)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        if not PartialState().is_main_process:
            return  # only one of several processes reports and installs
        _print_report(report)
        if full is not None:
            terminal.print_line(
                f"The tuned model is in {full}. Set starcoder.model to that folder."
            )
        elif report.is_improved or keep_anyway:
            note = AdapterNote(base.name, fingerprint(base.path), asdict(report))
            card = code_adapter_card(name, note, serving_advice(result, name))
            (result / "README.md").write_text(card, encoding="utf-8")
            installed = install(result, name, note)
            terminal.print_line(f'Served from now on as {name}. Set "starcoder.adapter": "{name}".')
            terminal.print_line(serving_advice(installed, name))
        else:
            terminal.print_line(
                "The adapter did not help on the held-out files, so it is not served."
            )
            raise typer.Exit(1)


@app.command(name="list")
def list_adapters() -> None:
    """List the adapters on this machine, with their measurements before and after training."""
    terminal.print_table(
        f"Adapters in {adapters_dir()}, with measurements before → after training",
        ("name", "for", "exact lines", "nats per token", "perplexity", "vLLM"),
        [_cells(adapter) for adapter in adapters()],
        empty=f"No adapters are in {adapters_dir()}. `starcoder-lsp tune code PATH` trains one.",
    )
    limited = (VllmSupport.PARTIAL, VllmSupport.REFUSED)
    if any(vllm_support(adapter.path) in limited for adapter in adapters()):
        terminal.print_line("For vLLM, merge what it ignores or refuses: starcoder-lsp tune merge.")


def _cells(adapter: AdapterFolder) -> tuple[str, ...]:
    report = adapter.note.report if isinstance(adapter.note.report, dict) else {}
    before, after = (report.get(when) for when in ("before", "after"))
    return (
        adapter.name,
        str(adapter.note.base),
        _change(_value(before, "exact_match"), _value(after, "exact_match"), "{:.1%}"),
        _change(_value(before, "nats_per_token"), _value(after, "nats_per_token"), "{:.3f}"),
        _change(report.get("perplexity_before"), report.get("perplexity_after"), "{:.2f}"),
        vllm_support(adapter.path).value,
    )


def _value(measured: object, name: str) -> object:
    return measured.get(name) if isinstance(measured, dict) else None


def _change(before: object, after: object, pattern: str) -> str:
    """Return two measurements, or empty if one is missing: the user may have edited the note."""
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return ""
    return f"{pattern.format(before)} → {pattern.format(after)}"


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Name of the adapter.")]) -> None:
    """Delete an adapter."""
    import shutil

    with common.plain_errors():
        folder = adapters_dir() / check_name(name)
        if not folder.is_dir():
            raise ConfigurationError(
                f"There is no adapter {name!r} in {adapters_dir()}. `starcoder-lsp tune list` "
                "lists the adapters."
            )
        shutil.rmtree(folder)


def _check_memory(base: TrainableModel, options: TuneOptions) -> None:
    """Raise OutOfMemoryError if training needs more memory than is free; loads nothing."""
    from engine.machine import format_bytes, free_memory
    from fim.training.options import estimate_memory_bytes

    needed = estimate_memory_bytes(base.architecture, options)
    memory = free_memory()
    free = memory.largest_gpu or memory.cpu
    common.stderr().print(
        f"Tuning {base.name} needs about {format_bytes(needed)}; {format_bytes(free)} is free."
    )
    if needed > free:
        raise OutOfMemoryError(
            f"Tuning {base.name} needs about {format_bytes(needed)}, but {format_bytes(free)} is "
            "free. Try --rows-per-step 1 or a smaller model."
        )


def _print_report(report: TuneReport) -> None:
    held_out, before, after = report.held_out_files, report.before, report.after
    rows = [
        (
            f"{report.lines} ends of lines, exact",
            f"{before.exact_match:.1%}",
            f"{after.exact_match:.1%}",
        ),
        ("nats per token", f"{before.nats_per_token:.3f}", f"{after.nats_per_token:.3f}"),
        ("repeating the latest line", f"{report.baseline:.1%}", f"{report.baseline:.1%}"),
    ]
    title = f"{held_out} files held out of {held_out + report.training_files}"
    terminal.print_table(title, ("", "before", "after"), rows)
