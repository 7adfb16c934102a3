"""`starcoder-lsp models`: the models on disk, whether they fit, and the choice of `auto`."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from engine.settings import EngineSettings
from lsp_server.cli import common


def models(chat_model: common.ChatModel = None) -> None:
    """List the models on this machine, and say which one `auto` chooses and why."""
    from engine.loading.catalog import find_checkpoints, select_checkpoint
    from engine.machine import format_bytes, free_memory

    console = Console(highlight=False)
    memory = free_memory()
    selection = select_checkpoint(find_checkpoints(), memory)
    columns = ("model", "parameters", "on disk", "context", "auto?")
    table = common.make_table("StarCoder models on this machine", *columns, fold=True)
    for eligibility in selection.considered if selection else ():
        checkpoint = eligibility.checkpoint
        chosen = selection is not None and checkpoint is selection.checkpoint
        table.add_row(
            checkpoint.name,
            format_bytes(checkpoint.parameters).rstrip("B").strip(),
            format_bytes(checkpoint.bytes_on_disk),
            f"{checkpoint.context_window:,}",
            f"{'[bold]chosen[/]: ' if chosen else ''}{eligibility.reason}",
        )
    console.print(table)
    gpus = ", ".join(format_bytes(free) for free in memory.gpus) or "none"
    console.print(f"Free memory: {format_bytes(memory.cpu)} on the CPU; GPUs: {gpus}.")
    if chat_model is not None:
        with common.plain_errors():
            console.print(f"For chat: {escape(_memory_of(chat_model))}")
    if selection is None or selection.checkpoint.is_demo:
        console.print(
            "No model except the demo model is on disk and fits. To download one:\n"
            "  hf download bigcode/tiny_starcoder_py    164M, Python, fast enough on a CPU\n"
            "  hf download bigcode/starcoderbase-1b     1B, gated: accept its licence first\n"
            "  hf download bigcode/starcoder            15.5B, gated; needs a GPU of 40 GB, or two"
        )


def _memory_of(model: str) -> str:
    """Return the memory that a second model needs. Raises ModelError."""
    from engine.loading.load import pick_device
    from engine.loading.reserve import sizes_on_disk
    from engine.machine import format_bytes

    settings = EngineSettings(model=model, offline=True)
    sizes = sizes_on_disk(settings, pick_device(settings))
    smallest = f", or {format_bytes(sizes[-1])} in fewer bits" if len(sizes) > 1 else ""
    return (
        f"{model} needs {format_bytes(sizes[0])}{smallest}, in addition to the model for "
        "completions."
    )
