"""`starcoder-lsp serve`: run the engine in the foreground, for a machine that serves a team."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.errors import ConfigurationError
from engine.logs import set_up_logging
from engine.server.limits import MAX_REQUESTS_OF_ALL
from engine.settings import EngineSettings, Listen
from lsp_server.allocator import limit_arenas
from lsp_server.cli import common, keys
from lsp_server.cli.token import TOKEN_VARIABLE, choose_token

ReloadMode = Literal["keep", "unload"]
"""The values of `engine.server.operation.reloading.Reload`, which would import torch."""

if TYPE_CHECKING:
    from engine.server.operation.tls import TlsFiles


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
        typer.Option(
            "--context-window", min=64, help="Limits the context window, in tokens, to save memory."
        ),
    ] = None,
    kv_caches: Annotated[
        int,
        typer.Option(
            "--kv-caches",
            min=1,
            help="Maximum size of the prefix cache, in full context windows: at least one per "
            "person who types. The free memory limits it too.",
        ),
    ] = MAX_REQUESTS_OF_ALL,
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
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            envvar=keys.KEYS_VARIABLE,
            help="File with a key per user, which `starcoder-lsp keys create` writes.",
        ),
    ] = None,
    requests_per_minute: keys.RequestsPerMinute = None,
    tokens_per_minute: keys.TokensPerMinute = None,
    parallel_requests: keys.ParallelRequests = None,
    max_body: keys.MaxBody = None,
    access_log: Annotated[
        str,
        typer.Option(
            "--access-log",
            help="File to which a line per request is written; - is stderr, off writes none.",
        ),
    ] = "-",
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", help="Speak TLS with this certificate (PEM, with its chain)."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", help="Private key of the certificate (PEM, no passphrase)."),
    ] = None,
    drain_seconds: Annotated[
        float,
        typer.Option(
            "--drain-seconds",
            min=0,
            max=86400,
            help="On SIGTERM, let running answers finish for up to this many seconds.",
        ),
    ] = 30.0,
    reload: Annotated[
        ReloadMode,
        typer.Option(
            "--reload",
            help="On SIGHUP the model is loaded again. Keep the old one until the new one is "
            "ready, or unload it first while requests wait, which needs less memory.",
        ),
    ] = "keep",
    alias: Annotated[
        list[str] | None,
        typer.Option(
            "--alias",
            help="A further name under which clients may request the model; may be repeated.",
        ),
    ] = None,
) -> None:
    """Serve a model with OpenAI's API, and the APIs of llama.cpp and Ollama for completion plugins.

    The editors of a team connect to it with the setting starcoder.engineUrl. The limits of the
    options hold for each user whose key has no limits of its own.
    """
    from chat.rendering import render
    from engine.server.process import TeamOptions, run
    from engine.server.users.accounts import Limits
    from fim.prompt.rendering import render as render_fim

    limit_arenas()
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
        kv_caches=kv_caches,
    )
    with common.plain_errors():
        listen = Listen(uds, host, port, choose_token(token, token_file))
        limits = Limits(requests_per_minute, tokens_per_minute, parallel_requests, max_body)
        team = TeamOptions(
            key_file,
            limits,
            _access_log_path(access_log),
            _tls_files(tls_cert, tls_key, uds),
            drain_seconds,
            reload,
        )
        run(
            settings,
            listen,
            render_chat=render,
            render_fim=render_fim,
            aliases=alias or (),
            team=team,
        )


def _access_log_path(option: str) -> Path | Literal["stderr"] | None:
    if option == "off":
        return None
    return "stderr" if option == "-" else Path(option)


def _tls_files(certificate: Path | None, key: Path | None, uds: Path | None) -> TlsFiles | None:
    """Return the files of the server's identity, None for plain HTTP."""
    from engine.server.operation.tls import TlsFiles

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("--tls-cert and --tls-key belong together. Give both, or neither.")
    if uds is not None:
        raise ConfigurationError(
            "A Unix socket needs no TLS. Leave --tls-cert and --tls-key out, or use --host."
        )
    return TlsFiles(certificate, key)
