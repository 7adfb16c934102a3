"""`starcoder-lsp complete FILE:LINE:COL`: print one suggestion in a terminal."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from lsprotocol import types
from rich.console import Console
from rich.text import Text

from engine.client.managed import ManagedEngine
from engine.errors import ConfigurationError
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.prompt.families import detect
from fim.snapshot import CompletionResult, Snapshot, Trigger
from lsp_server.cli import common
from lsp_server.session.line_index import LineIndex

_POSITION = re.compile(r"(?P<file>.+):(?P<line>\d+):(?P<column>\d+)")


def complete(
    position: Annotated[
        str,
        typer.Argument(
            metavar="FILE:LINE:COL", help="Lines and columns count from 1, as in editors."
        ),
    ],
    model: common.Model = common.DEFAULT_MODEL,
    dtype: common.DtypeOption = "auto",
    device: common.DeviceOption = "auto",
    offline: common.Offline = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print only the suggestion.")] = False,
) -> None:
    """Print the suggestion for a position in a file."""
    with common.plain_errors():
        snapshot = read_snapshot(position)
        settings = EngineSettings(model=model, dtype=dtype, device=device, offline=offline)
        result, note = asyncio.run(_complete(snapshot, settings))
        if note:
            common.stderr().print(note, style="dim", soft_wrap=True)
        if plain:
            text = result.suggestions[0].text if result.suggestions else ""
            typer.echo(common.printable(text) if sys.stdout.isatty() else text)
        else:
            _print_result(snapshot, result)


def read_snapshot(position: str) -> Snapshot:
    """Return the snapshot for FILE:LINE:COL; raises ConfigurationError."""
    match = _POSITION.fullmatch(position)
    if match is None:
        raise ConfigurationError(
            f"{position!r} is not a position. Give FILE:LINE:COL, such as main.py:12:5."
        )
    file, line, column = Path(match["file"]), int(match["line"]), int(match["column"])
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8 text.") from None
    index = LineIndex(text)
    if not 1 <= line <= len(index.starts) or column < 1:
        raise ConfigurationError(
            f"{file} has {len(index.starts)} lines; there is no {line}:{column}."
        )
    cursor = index.offset(types.Position(line - 1, column - 1), types.PositionEncodingKind.Utf32)
    return Snapshot(file.resolve().as_uri(), file.suffix.lstrip("."), text, cursor)


async def _complete(snapshot: Snapshot, settings: EngineSettings) -> tuple[CompletionResult, str]:
    """Return the suggestions, and a note on what the model cannot do."""
    engine = ManagedEngine(settings)
    try:
        result = await Completer(engine).complete(snapshot, Trigger.INVOKED)
        return result, detect(await engine.tokenizer()).note
    finally:
        await engine.aclose()


def _print_result(snapshot: Snapshot, result: CompletionResult) -> None:
    console = Console(highlight=False)
    if not result.suggestions:
        console.print(f"No suggestion: {result.explanation}.", style="dim")
        return
    suggestion = result.suggestions[0]
    line = Text(common.printable(snapshot.line_before))
    line.append(common.printable(suggestion.text), style="black on bright_cyan")
    line.append(common.printable(snapshot.text[suggestion.replace_end :].split("\n", 1)[0]))
    console.print(line)
    console.print(f"{result.explanation}, {result.model_ms:.0f} ms", style="dim")
