"""`starcoder-lsp keys`: the keys of the users of `serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from lsp_server.cli import common, terminal

KEYS_VARIABLE = "STARCODER_LSP_KEYS"
"""The environment variable that contains the path of the key file."""

RequestsPerMinute = Annotated[
    int | None,
    typer.Option(
        "--requests-per-minute", min=0, help="Requests of a user per minute; 0: no limit."
    ),
]
TokensPerMinute = Annotated[
    int | None,
    typer.Option(
        "--tokens-per-minute",
        min=0,
        help="Tokens of a user's prompts and outputs per minute; 0: no limit.",
    ),
]
ParallelRequests = Annotated[
    int | None,
    typer.Option(
        "--parallel-requests",
        min=0,
        help="Requests of a user that run or wait at a time; 0: no limit below 64.",
    ),
]
MaxBody = Annotated[
    int | None,
    typer.Option(
        "--max-body",
        min=0,
        max=2 * 2**20,
        help="Bytes of the body of a request; 0: no limit below 2 MiB.",
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--keys", envvar=KEYS_VARIABLE, help="The key file; default: keys.json in your data folder."
    ),
]

app = typer.Typer(
    no_args_is_help=True,
    help="Create, list and revoke the keys of the users of `serve --keys`.",
)


def _print_note(text: str) -> None:
    """Print to stderr, because stdout is for the key alone."""
    common.stderr().print(common.printable(text), markup=False, soft_wrap=True)


def _path(file: Path | None) -> Path:
    return file or platformdirs.user_data_path("starcoder-lsp") / "keys.json"


@app.command(epilog="Example: starcoder-lsp keys create alice --tokens-per-minute 200000")
def create(
    name: Annotated[str, typer.Argument(help="Name of the user, as in the access log.")],
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    parallel_requests: ParallelRequests = None,
    max_body: MaxBody = None,
    file: File = None,
) -> None:
    """Create a user and print the key, which is stored nowhere else.

    Limits that are not given are those of `serve`.
    """
    from engine.server.users.key_file import StoredLimits, create_key

    path = _path(file)
    limits = StoredLimits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        parallel_requests=parallel_requests,
        body_bytes=max_body,
    )
    with common.plain_errors():
        if file is None:
            os.makedirs(path.parent, mode=0o700, exist_ok=True)
        key = create_key(path, name, limits)
    typer.echo(key)
    _print_note(
        f"This is the key of {name}. It is shown only now: the file {path} has its hash. "
        "Set it as starcoder.engineToken, or as the API key of another client."
    )


@app.command("list", epilog="Example: starcoder-lsp keys list")
def list_users(file: File = None) -> None:
    """List the users and their limits; `default` is the limit that `serve` was started with."""
    from engine.server.users.key_file import list_keys

    path = _path(file)
    with common.plain_errors():
        entries = list_keys(path)
    rows: list[tuple[terminal.Cell, ...]] = []
    for entry in entries:
        limits = [_shown(value) for value in entry.limits.model_dump().values()]
        rows.append((entry.name, entry.created.date().isoformat(), *limits))
    columns = ("user", "created", "requests/min", "tokens/min", "parallel", "body bytes")
    terminal.print_table("Users", columns, rows, empty=f"{path} has no users.")


def _shown(limit: int | None) -> str:
    if limit is None:
        return "default"
    return f"{limit:,}" if limit else "no limit"


@app.command(epilog="Example: starcoder-lsp keys revoke alice")
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the user.")], file: File = None
) -> None:
    """Remove a user. A running server refuses the key within seconds."""
    from engine.server.users.key_file import revoke_key

    with common.plain_errors():
        revoke_key(_path(file), name)
    _print_note(f"The key of {name} is revoked.")
