"""Shared parts of the commands: engine options, consoles, tables and error messages."""

from __future__ import annotations

import re
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
ChatModel = Annotated[
    str | None,
    typer.Option(
        "--chat-model",
        help="A model for chat alone, as in the setting starcoder.chatModel.",
        envvar="STARCODER_LSP_CHAT_MODEL",
    ),
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Number format of the weights.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Device that the model runs on.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Do not contact the Hub; use only models on disk.")
]

DEFAULT_MODEL = AUTO_MODEL

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and line feed."""


def stderr() -> Console:
    """Return a console for messages; stdout is for the output of a command.

    Rich would replace the name of an emoji between colons, which a file position may contain.
    """
    return Console(stderr=True, highlight=False, emoji=False)


def printable(text: str) -> str:
    """Return a text without control characters, which could give orders to the terminal.

    Text of a model, a file, a folder or another server must go through this function.
    """
    return _CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print the message of a StarcoderError, and exit with status 1."""
    try:
        yield
    except StarcoderError as error:
        stderr().print(
            f"[bold red]error:[/] {escape(printable(error.user_message))}", soft_wrap=True
        )
        raise typer.Exit(1) from None


def require_training_packages() -> None:
    """Raise ConfigurationError if a package that training needs is not installed."""
    try:
        import datasketch
        import peft  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"Tuning needs the package {error.name}, which is not installed. Run: "
            "pip install 'starcoder-lsp[train]'"
        ) from None
    del datasketch
