"""Runs the command line: plain help and errors, and exit statuses.

The status is 0 after success, 1 after a failure, 2 for a wrong command line, and 130 after Ctrl+C.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from engine.errors import StarcoderError, reason_of, value_problem
from lsp_server.cli import common, terminal

PROGRAM = "starcoder-lsp"
HELP_OPTIONS = ["-h", "--help"]

_TRACEBACK_VARIABLE = "STARCODER_LSP_TRACEBACK"
"""Environment variable that shows Python's traceback of an unexpected exception."""

_TYPE_NAMES = {
    "<str>": "TEXT",
    "<int>": "NUMBER",
    "<int range>": "NUMBER",
    "<float>": "NUMBER",
    "<float range>": "NUMBER",
    "<path>": "PATH",
}
"""Names of the types of arguments, instead of Python's."""
_MAX_CHOICES = 20
"""Most characters of the choices of an option in the column of its type."""
_LINE_END_IN_PARAGRAPH = re.compile(r"(?<!\n)\n(?!\n)")
_QUIET_LIBRARIES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables that keep advice for programmers off the terminal."""


class PlainGroup(TyperGroup):
    """The root command, with help and errors that do not name Python's types.

    Errors of the commands below it pass through `invoke`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _improve_help(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of the group itself."""
        with _plain_usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _plain_usage_errors(), _plain_failures(ctx):
            return super().invoke(ctx)


def _improve_help(command: TyperCommand | TyperGroup) -> None:
    """Name types in plain words, and let paragraphs fill the width of the terminal."""
    context = typer.Context(command, help_option_names=HELP_OPTIONS)
    command.help = _LINE_END_IN_PARAGRAPH.sub(" ", command.help or "")
    parameters: list[Any] = [*command.params, command.get_help_option(context)]
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            vars(parameter)["display_type_rich"] = _no_type  # its name and help say what it is
            parameter.metavar = parameter.metavar or parameter.name.upper()
        elif parameter.is_flag:
            parameter.metavar = ""
        elif parameter.metavar is None:
            _name_type(parameter, parameter.display_type(context))
    for child in getattr(command, "commands", {}).values():
        _improve_help(child)


def _name_type(option: Any, name: str) -> None:
    """Name the type of an option. Long choices go into its help, where lines break at words."""
    name = name.replace("list[", "").replace("]", "")
    if "|" in name and len(name) > _MAX_CHOICES:
        option.metavar = "NAME"
        option.help = f"{option.help} One of {name.strip('<>').replace('|', ', ')}."
    else:
        option.metavar = _TYPE_NAMES.get(name, name)


def _no_type(ctx: typer.Context) -> str | None:
    del ctx
    return None


@contextmanager
def _plain_usage_errors() -> Iterator[None]:
    """Rephrase an error of the command line that is written for programmers."""
    try:
        yield
    except typer.TyperException as error:
        if isinstance(error.__cause__, ValidationError):
            (detail, *_) = error.__cause__.errors(include_url=False)
            error.message = _refusal(detail)
        option = getattr(error, "option_name", None) or ""
        if option.startswith("-") and not option.startswith("--"):
            error.message += ". If this is the name of a file, put -- before it."
        raise


def _refusal(detail: Mapping[str, Any]) -> str:
    """Return a sentence on a refused value; `detail` is one of pydantic's errors."""
    if detail["type"] == "value_error":  # written by typer, with the values to choose from
        return str(detail["msg"]).removeprefix("Value error, ")
    return f"{str(detail['input'])!r} cannot be used: {value_problem(detail)}."


@contextmanager
def _plain_failures(ctx: typer.Context) -> Iterator[None]:
    """Print one sentence for an exception that a command does not expect; exit with status 1.

    The language server has a log for them.
    """
    try:
        yield
    except (BrokenPipeError, typer.Exit, typer.Abort, typer.TyperException):
        raise
    except Exception as error:
        if ctx.invoked_subcommand is None or os.environ.get(_TRACEBACK_VARIABLE):
            raise
        print_error(describe_failure(error))
        raise typer.Exit(1) from None


def describe_failure(error: Exception) -> str:
    """Return a sentence on an exception that a command does not expect."""
    if isinstance(error, StarcoderError):
        return error.user_message
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return f"The output cannot be written: {reason_of(error)}."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The command failed'}: {reason_of(error)}."
    frame = traceback.extract_tb(error.__traceback__)[-1]
    module = "/".join(Path(frame.filename).parts[-3:])
    return (
        f"{PROGRAM} failed unexpectedly ({type(error).__name__} in {module}, line {frame.lineno}). "
        f"Please report this. {_TRACEBACK_VARIABLE}=1 shows more."
    )


def print_error(message: str) -> None:
    """Print the message of an error."""
    text = Text("error:", style="bold red") + Text(f" {common.printable(message)}", style="none")
    common.stderr().print(text, soft_wrap=True)


def quiet_libraries() -> None:
    """Keep warnings of libraries off the terminal, unless the user asks Python for them."""
    for variable, value in _QUIET_LIBRARIES.items():
        os.environ.setdefault(variable, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def run(app: typer.Typer) -> None:
    """Run the command line with the arguments of this process, and exit."""
    terminal.prepare_streams()
    try:
        app(prog_name=PROGRAM)
    finally:
        _flush()


def _flush() -> None:
    """Write what stdout still buffers; a failure ends the process with status 1."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print_error(f"The output cannot be written: {reason_of(error)}.")
        sys.exit(1)
