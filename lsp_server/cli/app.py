"""The root of the command line; without a command it runs the language server.

Each command imports its dependencies when it runs. So an editor that starts the server does not
wait for torch, and `--help` answers immediately.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lsp_server import __version__
from lsp_server.cli import (
    complete,
    demo,
    doctor,
    evaluate,
    judge,
    models,
    replay,
    serve,
    stats,
    tune,
)

app = typer.Typer(
    name="starcoder-lsp",
    help="A language server that runs StarCoder on your own machine.\n\n"
    "Without a command it speaks the Language Server Protocol over stdin and stdout; this is how "
    "an editor starts it. Run `starcoder-lsp demo` to see it at work, and `starcoder-lsp doctor` "
    "if something does not work.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(complete.complete)
app.command()(serve.serve)
app.command()(models.models)
app.command()(doctor.doctor)
app.command(name="eval")(evaluate.evaluate)
app.command()(replay.replay)
app.command()(stats.stats)
app.command(name="judge")(judge.judge_models)
app.add_typer(tune.app, name="tune")


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"starcoder-lsp {__version__}")
        raise typer.Exit


def _parse_address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise typer.BadParameter(f"{value!r} is not an address. Give PORT or HOST:PORT.")
    return host or "127.0.0.1", int(port)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Speak over stdin and stdout (the default).")
    ] = False,
    tcp: Annotated[
        str | None,
        typer.Option(
            "--tcp",
            metavar="[HOST:]PORT",
            help="Serve several editors over TCP instead; the default host is this machine only.",
        ),
    ] = None,
    log_file: Annotated[
        str | None, typer.Option("--log-file", help="Write the log to this file instead of stderr.")
    ] = None,
    # VS Code's client appends this option; the same number arrives in `initialize`.
    _client_process_id: Annotated[
        int | None, typer.Option("--clientProcessId", hidden=True)
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Run the language server, unless a command is given."""
    if context.invoked_subcommand is not None:
        return
    if stdio and tcp:
        raise typer.BadParameter("--stdio and --tcp exclude each other. Give only one of them.")
    if tcp:
        from lsp_server.tcp import run_tcp

        run_tcp(*_parse_address(tcp), log_file=log_file)
        return
    if sys.stdin.isatty():
        typer.echo(
            "This is a language server. It waits for messages of an editor on stdin.\n"
            "Press Ctrl+C to stop. `starcoder-lsp --help` lists the other commands.",
            err=True,
        )
    from lsp_server.stdio import run_stdio

    run_stdio(log_file=log_file)


def main() -> None:
    """Run the command line."""
    app()
