"""`starcoder-lsp doctor`: looks at what the server needs, and says how to mend what is amiss."""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

import typer
from rich.console import Console
from rich.markup import escape

from engine.client.endpoint import RuntimeFiles, runtime_dir
from engine.client.managed import ManagedEngine
from engine.errors import StarcoderError
from engine.settings import EngineSettings
from lsp_server import __version__
from lsp_server.cli import common

_NEOVIM = (0, 12)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    well: bool
    detail: str
    """What was found; where it is not well, what to do."""


def doctor(model: common.Model = common.DEFAULT_MODEL) -> None:
    """Check this machine and say what to do about what is not well."""
    console, well = Console(highlight=False), True
    for finding in check(model):
        well = well and finding.well
        mark = "[green]ok[/]  " if finding.well else "[red]no[/]  "
        console.print(f"{mark}{finding.what:12}{escape(finding.detail)}", soft_wrap=True)
    console.print("\nAll is well." if well else "\nSee the lines marked `no`.")
    raise typer.Exit(0 if well else 1)


def check(model: str) -> Iterator[Finding]:
    """Yield findings one by one, quick ones first."""
    yield Finding(
        "version", True, f"starcoder-lsp {__version__}, Python {platform.python_version()}"
    )
    yield _guarded("runtime", lambda: f"sockets and locks in {runtime_dir()}")
    yield _torch()
    yield _neovim()
    yield _guarded("model", lambda: _model(model))
    yield _guarded("engine", lambda: asyncio.run(_engine(model)))


def _guarded(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except StarcoderError as error:
        return Finding(what, False, error.user_message)


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:  # a broken build fails in many ways
        return Finding("torch", False, f"cannot be imported ({error}); install it again")
    version = metadata.version("torch")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("torch", True, f"{version}, GPUs: {names}")
    if torch.backends.mps.is_available():
        return Finding("torch", True, f"{version}, Apple GPU")
    return Finding("torch", True, f"{version}, no GPU: models up to 400M answer in time")


def _neovim() -> Finding:
    program = shutil.which("nvim")
    if program is None:
        return Finding("Neovim", True, "not on PATH; any editor that speaks LSP will do")
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    line = shown.stdout.partition("\n")[0]
    numbers = tuple(int(part) for part in line.split("v")[-1].split(".")[:2] if part.isdigit())
    if numbers < _NEOVIM:
        return Finding("Neovim", False, f"{line} has no inline completion of its own; 0.12 has")
    return Finding("Neovim", True, line)


def _model(model: str) -> str:
    from engine.loading.locate import locate, read_config

    name, path = locate(EngineSettings(model=model, offline=True), lambda *_: None)
    read_config(path, name)
    return f"{model} is {name} at {path}" if model != name else f"{name} at {path}"


async def _engine(model: str) -> str:
    """Start the engine, as an editor would, and ask it what it holds."""
    settings = EngineSettings(model=model)
    engine = ManagedEngine(settings)
    try:
        info = await engine.info()
    finally:
        await engine.aclose()
    return (
        f"process {info.pid} holds {info.model} on {info.device} in {info.dtype}, context "
        f"{info.context_window}; log: {RuntimeFiles.for_settings(settings).log_file}"
    )
