"""`starcoder-lsp serve`: the engine in the foreground, for a machine that serves a team."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.settings import EngineSettings
from lsp_server.cli import common


def serve(
    model: common.Model = common.DEFAULT_MODEL,
    dtype: common.DtypeOption = "auto",
    device: common.DeviceOption = "auto",
    offline: common.Offline = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit on the hub.")
    ] = None,
    context_window: Annotated[
        int | None, typer.Option("--context-window", min=16, help="Fewer positions, less memory.")
    ] = None,
    idle_timeout: Annotated[
        float, typer.Option("--idle-timeout", min=0, help="Seconds; 0 is never.")
    ] = 0.0,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8765,
    uds: Annotated[
        Path | None, typer.Option("--uds", help="Listen on this Unix socket instead of TCP.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="STARCODER_LSP_TOKEN",
            help="What clients must show; needed unless it listens on loopback or a Unix socket.",
        ),
    ] = None,
) -> None:
    """Hold a model and answer OpenAI's API: completions, chat, models, health."""
