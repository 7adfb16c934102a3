"""`starcoder-lsp engines`: the engine processes on this machine, and how to stop them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from engine.client.running import SILENT, RunningEngine, running_engines, stop_engine
from engine.errors import ConfigurationError
from engine.loading.on_disk import path_on_disk, shown_name
from engine.machine import format_bytes
from lsp_server.cli import common

ALL = "all"


def engines(
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL|PID|all]", help="Only these engines; without it, all are listed."
        ),
    ] = None,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop them: the one of a model, of a process id, or `all`."),
    ] = False,
) -> None:
    """List the engines that run on this machine, or stop them.

    These are the engines that editors and commands have started for you. `starcoder-lsp serve` is
    not among them: stop it in its own terminal.
    """
    console = Console(highlight=False)
    with common.plain_errors():
        running = asyncio.run(running_engines())
        chosen = _choose(running, which, is_required=stop)
        if stop:
            asyncio.run(_stop(console, chosen))
        elif not running:
            console.print("No engine is running.")
        else:
            for engine in chosen:
                console.print(escape(common.printable(describe(engine))), soft_wrap=True)


def _choose(
    running: Sequence[RunningEngine], which: str | None, *, is_required: bool
) -> list[RunningEngine]:
    """Return the engines that the argument means. Raises ConfigurationError if there are none."""
    if which == ALL or (which is None and (not is_required or len(running) < 2)):
        return list(running)
    if which is None:
        raise ConfigurationError(
            f"{len(running)} engines are running. Say which to stop: a model, a process id, or all."
        )
    if which.isdecimal():
        chosen = [engine for engine in running if engine.pid == int(which)]
    else:
        names = {which, _name_of(which)}
        chosen = [engine for engine in running if engine.model in names]
    if not chosen:
        raise ConfigurationError(
            f"No running engine has the model or process id {which}. `starcoder-lsp engines` lists "
            "all that run."
        )
    return chosen


def _name_of(model: str) -> str:
    """Return the name under which a model's engine is listed, however the user writes it."""
    path = path_on_disk(model, None)
    return model if path is None else shown_name(Path(path), model)


async def _stop(console: Console, chosen: Sequence[RunningEngine]) -> None:
    if not chosen:
        console.print("No engine is running.")
    for engine in chosen:
        await stop_engine(engine)
        name = engine.model or "the engine"
        console.print(
            escape(common.printable(f"Stopped {name} (process {engine.pid}).")), soft_wrap=True
        )


def describe(engine: RunningEngine) -> str:
    """Return the lines about one engine; each is short enough for a narrow terminal."""
    if engine.state == SILENT:
        return (
            f"process {engine.pid} does not answer\n"
            f"  stop it: starcoder-lsp engines --stop {engine.pid}"
        )
    where = f" on {engine.device} in {engine.dtype}" if engine.device else f": {engine.state}"
    lines = [f"{engine.model}{where}"]
    if engine.detail:
        lines.append(f"  {engine.detail}")
    memory = format_bytes(engine.memory_bytes)
    if engine.gpu_memory_bytes:
        memory += f" and {format_bytes(engine.gpu_memory_bytes)} of GPU memory"
    clients = "1 client" if engine.clients == 1 else f"{engine.clients} clients"
    lines.append(f"  process {engine.pid}, {memory}, {clients}")
    limit = _duration(engine.idle_timeout_s) if engine.idle_timeout_s else ""
    exits = f"exits after {limit}" if limit else "never exits by itself"
    lines.append(f"  idle for {_duration(engine.idle_s)}, {exits}")
    return "\n".join([*lines, f"  {engine.address}"])


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
