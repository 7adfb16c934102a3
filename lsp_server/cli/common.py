"""What the commands share: options of the engine, the console, errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from engine.errors import ConfigurationError, StarcoderError
from engine.settings import AUTO_MODEL, Device, Dtype

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Hub id, directory, [bold]demo[/] for the embedded demo model, or [bold]auto[/].",
        envvar="STARCODER_LSP_MODEL",
    ),
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Number format of the weights.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the model is held.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never reach for the hub; use what is on disk.")
]

DEFAULT_MODEL = AUTO_MODEL


def stderr() -> Console:
    """Return a console for messages, apart from what a command prints."""
    return Console(stderr=True, highlight=False)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an error of ours into its message and exit status 1."""
    try:
        yield
    except StarcoderError as error:
        stderr().print(f"[bold red]error:[/] {escape(error.user_message)}", soft_wrap=True)
        raise typer.Exit(1) from None


def need_training() -> None:
    """Raise ConfigurationError if what training needs is not installed."""
    try:
        import datasketch
        import peft  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"Tuning needs {error.name}, which is not installed. Run: "
            "pip install 'starcoder-lsp[train]'"
        ) from None
    del datasketch
