"""`starcoder-lsp doctor`: check what the server needs, and say how to fix problems."""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata

import typer
from rich.text import Text

from engine.client.endpoint import RuntimeFiles, runtime_dir
from engine.client.managed import ManagedEngine
from engine.errors import StarcoderError
from engine.settings import EngineSettings
from fim.prompt.families import detect
from lsp_server import __version__
from lsp_server.cli import common, terminal
from lsp_server.cli.doctor_server import Finding, check_server
from lsp_server.cli.engine_server import EngineServer, read_server

_MIN_NEOVIM = (0, 12)
"""First version of Neovim with inline completion."""


def doctor(
    context: typer.Context,
    model: common.Model = common.DEFAULT_MODEL,
    chat_model: common.ChatModel = None,
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    engine_model: common.EngineModel = None,
    tokenizer: common.TokenizerOption = None,
) -> None:
    """Check this machine or, with --engine-url, a server; say how to fix problems."""
    with common.plain_errors():
        server = read_server(context, engine_url, engine_token, engine_model, tokenizer)
    findings = check(model, chat_model) if server is None else check_with_server(server)
    all_ok = True
    for finding in findings:
        all_ok = all_ok and finding.is_ok
        mark = Text("ok", style="green") if finding.is_ok else Text("no", style="red")
        detail = f"  {finding.name:13}{common.printable(finding.detail)}"
        terminal.print_line(mark + Text(detail, style="none"))
    terminal.print_line("\nNo problems." if all_ok else "\nSee the lines marked `no`.")
    raise typer.Exit(0 if all_ok else 1)


def check(model: str, chat_model: str | None) -> Iterator[Finding]:
    """Run the checks one after the other, quick ones first."""
    yield _version()
    yield _run_check("runtime", lambda: f"sockets and locks in {runtime_dir()}")
    yield _check_torch()
    yield _check_neovim()
    yield _run_check("model", lambda: _locate_model(model))
    yield _run_check("engine", lambda: asyncio.run(_start_engine(model, chat_model)))
    if chat_model is not None:
        yield _run_check("chat model", lambda: _locate_model(chat_model))
        yield _run_check("chat engine", lambda: asyncio.run(_start_engine(chat_model, model)))


def check_with_server(server: EngineServer) -> Iterator[Finding]:
    """Run the checks of what completions by a server need; no model runs on this machine."""
    yield _version()
    yield _check_neovim()
    # One loop for all checks, since a client belongs to the loop in which it was made.
    with asyncio.Runner() as runner:
        findings = check_server(server)
        try:
            while (finding := runner.run(anext(findings, None))) is not None:
                yield finding
        finally:
            runner.run(findings.aclose())


def _version() -> Finding:
    return Finding(
        "version", True, f"starcoder-lsp {__version__}, Python {platform.python_version()}"
    )


def _run_check(name: str, inspect: Callable[[], str]) -> Finding:
    """Return the finding of `inspect`, which returns a detail or raises StarcoderError."""
    try:
        return Finding(name, True, inspect())
    except StarcoderError as error:
        return Finding(name, False, error.user_message)


def _check_torch() -> Finding:
    try:
        import torch
    except Exception as error:  # a broken build can raise any exception
        return Finding("torch", False, f"cannot be imported ({error}). Reinstall it")
    version = metadata.version("torch")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("torch", True, f"{version}, GPUs: {names}")
    if torch.backends.mps.is_available():
        return Finding("torch", True, f"{version}, Apple GPU")
    return Finding(
        "torch", True, f"{version}, no GPU: fast enough for models up to 400M parameters"
    )


def _check_neovim() -> Finding:
    program = shutil.which("nvim")
    if program is None:
        return Finding("Neovim", True, "not on PATH; any editor with LSP works too")
    process = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    line = process.stdout.partition("\n")[0]
    numbers = tuple(int(part) for part in line.split("v")[-1].split(".")[:2] if part.isdigit())
    if numbers < _MIN_NEOVIM:
        detail = f"{line} has no inline completion. Install 0.12 or newer"
        return Finding("Neovim", False, detail)
    return Finding("Neovim", True, line)


def _locate_model(model: str) -> str:
    from engine.loading.locate import locate, may_arrive, read_config
    from engine.loading.on_disk import path_on_disk

    settings = EngineSettings(model=model)
    if may_arrive(settings) and path_on_disk(model, None) is None:
        return f"{model} is not on this machine yet; the engine downloads it"
    name, path = locate(settings, lambda *_: None)
    read_config(path, name)
    return f"{model} is {name} at {path}" if model != name else f"{name} at {path}"


async def _start_engine(model: str, other_model: str | None) -> str:
    """Start an engine next to the one of another model, as an editor does; return what it runs."""
    settings = EngineSettings(model=model)
    companion = None if other_model is None else EngineSettings(model=other_model)
    engine = ManagedEngine(settings, companion=companion)
    try:
        info = await engine.info()
        note = detect(await engine.tokenizer()).note
    finally:
        await engine.aclose()
    log_file = RuntimeFiles.for_settings(settings).resolved().log_file
    return (
        f"process {info.pid} runs {info.model} on {info.device} in {info.dtype}, context "
        f"{info.context_window}; log: {log_file}. {note}"
    ).removesuffix(". ")
