"""`starcoder-lsp models`: the models on disk, whether they fit, and the choice of `auto`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engine.settings import EngineSettings
from lsp_server.cli import common, terminal
from lsp_server.cli.models_json import models_json

if TYPE_CHECKING:
    from engine.loading.catalog import Checkpoint, Eligibility, Selection, Unusable
    from engine.machine import Memory

Folder = Annotated[
    Path | None,
    typer.Argument(help="A folder of models; without it, all places where models usually are."),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_DOWNLOADS = """\
No model except the demo model is on disk and fits. To download one:
  hf download bigcode/tiny_starcoder_py      164M, Python, for a CPU
  hf download Qwen/Qwen2.5-Coder-0.5B        494M, for a CPU, set it by name
  hf download bigcode/starcoder2-3b          3B, for a GPU of 8 GB
  hf download Qwen/Qwen2.5-Coder-7B          7.6B, for a GPU of 20 GB
  hf download bigcode/starcoder              15.5B, for a GPU of 40 GB, gated"""


def models(
    folder: Folder = None, chat_model: common.ChatModel = None, as_json: AsJson = False
) -> None:
    """List the models on this machine, and say which one `auto` chooses and why."""
    from engine.loading.catalog import find_models, models_in, select_checkpoint, usable
    from engine.machine import format_bytes, free_memory

    memory = free_memory()
    with common.plain_errors():
        listed = find_models() if folder is None else list(models_in(folder.expanduser()))
    selection = select_checkpoint(usable(listed), memory)
    if as_json:
        typer.echo(models_json(listed, selection, memory))
        return
    _print_table(str(folder or "This machine"), listed, selection, memory)
    gpus = ", ".join(format_bytes(free) for free in memory.gpus) or "none"
    terminal.print_line(f"Free memory: {format_bytes(memory.cpu)} on the CPU; GPUs: {gpus}.")
    if chat_model is not None:
        with common.plain_errors():
            terminal.print_line(f"For chat: {_memory_of(chat_model)}")
    if folder is None and (selection is None or selection.checkpoint.is_demo):
        terminal.print_line(_DOWNLOADS)


def _print_table(
    place: str,
    listed: Sequence[Checkpoint | Unusable],
    selection: Selection | None,
    memory: Memory,
) -> None:
    from engine.loading.catalog import Unusable, check_eligibility, usable

    rows: list[Sequence[terminal.Cell]] = []
    for checkpoint in usable(listed):
        is_chosen = selection is not None and checkpoint is selection.checkpoint
        rows.append(_row(check_eligibility(checkpoint, memory), is_chosen=is_chosen))
    for model in listed:
        if isinstance(model, Unusable):
            rows.append((model.name, "", "", "", model.reason))
    columns = ("model", "parameters", "on disk", "context", "auto?")
    terminal.print_table("Models on this machine", columns, rows, empty=f"{place} has no models.")


def _row(eligibility: Eligibility, *, is_chosen: bool) -> Sequence[terminal.Cell]:
    from engine.machine import format_bytes

    checkpoint = eligibility.checkpoint
    stored_as = f" {checkpoint.stored_as}" if checkpoint.stored_as else ""
    return (
        checkpoint.name,
        format_bytes(checkpoint.parameters).rstrip("B").strip(),
        f"{format_bytes(checkpoint.bytes_on_disk)}{stored_as}",
        f"{checkpoint.context_window:,}",
        Text("chosen: " if is_chosen else "", style="bold") + Text(eligibility.reason),
    )


def _memory_of(model: str) -> str:
    """Return the memory that a second model needs. Raises ModelError."""
    from engine.loading.load import pick_device
    from engine.loading.locate import may_arrive
    from engine.loading.on_disk import path_on_disk
    from engine.loading.reserve import sizes_on_disk
    from engine.machine import format_bytes

    settings = EngineSettings(model=model)
    if may_arrive(settings) and path_on_disk(model, None) is None:
        return f"{model} is not on this machine yet; the engine downloads it."
    sizes = sizes_on_disk(settings, pick_device(settings))
    smallest = f", or {format_bytes(sizes[-1])} in fewer bits" if len(sizes) > 1 else ""
    return (
        f"{model} needs {format_bytes(sizes[0])}{smallest}, in addition to the model for "
        "completions."
    )
