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
from lsp_server.session.engine_choice import TOKEN_VARIABLE

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

EngineUrl = Annotated[
    str | None,
    typer.Option(
        "--engine-url",
        metavar="URL",
        help="Use the server at this address, such as vLLM, and no engine of this machine.",
    ),
]
EngineToken = Annotated[
    str | None,
    typer.Option(
        "--engine-token",
        metavar="TOKEN",
        help="Access token of that server. Other users can read a command line, so prefer the "
        "variable.",
        envvar=TOKEN_VARIABLE,
    ),
]
EngineModel = Annotated[
    str | None,
    typer.Option(
        "--engine-model",
        metavar="NAME",
        help="Name of the model to use there. Default: the first one that it lists.",
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="PATH",
        help="Directory of the model, or its GGUF file, if the server does not provide its "
        "tokenizer.",
    ),
]

DEFAULT_MODEL = AUTO_MODEL

_OPTION_OF_SETTING = {
    "starcoder.engineUrl": "--engine-url",
    "starcoder.engineToken": "--engine-token",
    "starcoder.engineModel": "--engine-model",
    "starcoder.tokenizer": "--tokenizer",
}

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


def with_options(message: str, *, model_option: str = "--engine-model") -> str:
    """Return a message about an engine with the options of commands in place of settings.

    `model_option` is the option that names a server's model.
    """
    for setting, option in (_OPTION_OF_SETTING | {"starcoder.engineModel": model_option}).items():
        message = message.replace(setting, option)
    return message.replace(", or leave it empty", "")


@contextmanager
def plain_errors(*, model_option: str = "--engine-model") -> Iterator[None]:
    """Print the message of a StarcoderError, and exit with status 1.

    `model_option` is the option that names a server's model.
    """
    try:
        yield
    except StarcoderError as error:
        message = with_options(error.user_message, model_option=model_option)
        stderr().print(f"[bold red]error:[/] {escape(printable(message))}", soft_wrap=True)
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
