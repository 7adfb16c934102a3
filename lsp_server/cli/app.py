"""The root of the command line; without a command it runs the language server.

Each command imports its dependencies when it runs. So an editor that starts the server does not
wait for torch, and `--help` answers immediately.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lsp_server import __version__
from lsp_server.cli import (
    command_line,
    common,
    complete,
    demo,
    doctor,
    engines,
    evaluate,
    judge,
    keys,
    models,
    replay,
    serve,
    stats,
    tune,
)
from lsp_server.cli.token import TOKEN_VARIABLE, choose_token

_EXAMPLE = "Example: starcoder-lsp {}"

app = typer.Typer(
    name=command_line.PROGRAM,
    cls=command_line.PlainGroup,
    help="A language server that runs StarCoder on your own machine.\n\n"
    "Without a command it speaks the Language Server Protocol over stdin and stdout; this is how "
    "an editor starts it. Run `starcoder-lsp demo` to see it at work, and `starcoder-lsp doctor` "
    "if something does not work.",
    epilog=_EXAMPLE.format("complete main.py:12:5 --model demo"),
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": command_line.HELP_OPTIONS},
)
app.command(epilog=_EXAMPLE.format("demo --model demo"))(demo.demo)
app.command(epilog=_EXAMPLE.format("complete main.py:12:5"))(complete.complete)
app.command(epilog=_EXAMPLE.format("serve --model demo --port 8765"))(serve.serve)
app.command(epilog=_EXAMPLE.format("models"))(models.models)
app.command(epilog=_EXAMPLE.format("doctor --model demo"))(doctor.doctor)
app.command(epilog=_EXAMPLE.format("engines --stop all"))(engines.engines)
app.command(name="eval", epilog=_EXAMPLE.format("eval . --kind line --count 50"))(evaluate.evaluate)
app.command(epilog=_EXAMPLE.format("replay . --files 5 --lines 3"))(replay.replay)
app.command(epilog=_EXAMPLE.format("stats --days 7"))(stats.stats)
app.command(
    name="judge",
    epilog=_EXAMPLE.format(
        "judge prompts.txt --a demo --b answers.jsonl --judge-url http://localhost:8000/v1 "
        "--judge-model NAME"
    ),
)(judge.judge_models)
app.add_typer(tune.app, name="tune")
app.add_typer(keys.app, name="keys")


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
            help="Serve several editors over TCP instead; the default host is this machine only. "
            "Needs --token-file or STARCODER_LSP_TOKEN.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the token that clients of --tcp must send."),
    ] = None,
    uds: Annotated[
        Path | None,
        typer.Option(
            "--uds", help="Serve several editors over this Unix socket, which only you can open."
        ),
    ] = None,
    pipe: Annotated[
        str | None,
        typer.Option("--pipe", help="Connect to the Unix socket on which one editor listens."),
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
        command_line.quiet_libraries()
        return
    if sum(map(bool, (stdio, tcp, uds, pipe))) > 1:
        raise typer.BadParameter(
            "--stdio, --tcp, --uds and --pipe exclude each other. Give only one of them."
        )
    with common.plain_errors():
        raise typer.Exit(_run(tcp, token_file, uds, pipe, log_file))


def _run(
    tcp: str | None,
    token_file: Path | None,
    uds: Path | None,
    pipe: str | None,
    log_file: str | None,
) -> int:
    """Run the server over the given transport; returns the exit status."""
    from lsp_server import sockets
    from lsp_server.allocator import limit_arenas
    from lsp_server.logs import set_up_logging
    from lsp_server.registration import build_server
    from lsp_server.stdio import run_stdio

    limit_arenas()
    set_up_logging(log_file)
    if tcp:
        token = choose_token(os.environ.get(TOKEN_VARIABLE), token_file)
        sockets.run_tcp(*_parse_address(tcp), token, lambda: build_server(is_shared=True))
        return 0
    if uds:
        sockets.check_unix()
        sockets.run_unix(uds, lambda: build_server(is_shared=True))
        return 0
    if pipe:
        sockets.check_unix()
        return sockets.run_pipe(pipe, build_server)
    if sys.stdin.isatty():
        typer.echo(
            "This is a language server. It waits for messages of an editor on stdin.\n"
            "Press Ctrl+C to stop. `starcoder-lsp --help` lists the other commands.",
            err=True,
        )
    return run_stdio(build_server())


def main() -> None:
    """Run the command line."""
    command_line.run(app)
