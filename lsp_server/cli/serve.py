"""`starcoder-lsp serve`: run the engine in the foreground, for a machine that serves a team."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.logs import set_up_logging
from engine.settings import EngineSettings, Listen
from lsp_server.cli import common
from lsp_server.cli.token import TOKEN_VARIABLE, choose_token


def serve(
    model: common.Model = common.DEFAULT_MODEL,
    dtype: common.DtypeOption = "auto",
    device: common.DeviceOption = "auto",
    offline: common.Offline = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit on the Hub.")
    ] = None,
    draft_model: Annotated[
        str | None,
        typer.Option(
            "--draft-model", help="A smaller model of the same family that proposes draft tokens."
        ),
    ] = None,
    context_window: Annotated[
        int | None,
        typer.Option("--context-window", min=64, help="Maximum positions; fewer need less memory."),
    ] = None,
    idle_timeout: Annotated[
        float,
        typer.Option(
            "--idle-timeout",
            min=0,
            help="Exit after this many seconds without a request; 0 is never.",
        ),
    ] = 0.0,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")
    ] = 8765,
    uds: Annotated[
        Path | None, typer.Option("--uds", help="Listen on this Unix socket instead of TCP.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar=TOKEN_VARIABLE,
            help="Token that clients must send. Required if other machines can connect. All users "
            "of this machine can read a command line: prefer --token-file or the variable.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File that contains the token; only you may read it."),
    ] = None,
) -> None:
    """Serve a model with OpenAI's API: completions, chat, models, health.

    The editors of a team connect to it with the setting starcoder.engineUrl.
    """
    from chat.rendering import render
    from engine.server.process import run

    set_up_logging(logging.StreamHandler(sys.stderr))
    settings = EngineSettings(
        model=model,
        revision=revision,
        dtype=dtype,
        device=device,
        draft_model=draft_model,
        context_window=context_window,
        offline=offline,
        idle_timeout_s=idle_timeout,
    )
    with common.plain_errors():
        listen = Listen(uds, host, port, choose_token(token, token_file))
        run(settings, listen, render_chat=render, is_shared=False)
