"""`starcoder-lsp complete FILE:LINE:COL`: print one suggestion in a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from engine.errors import ConfigurationError, reason_of
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.prompt.families import detect
from fim.snapshot import CompletionResult, Snapshot, Source, Trigger
from lsp_server.cli import common, terminal
from lsp_server.cli.engine_server import choose_engine, read_server
from lsp_server.session.engine_choice import EngineChoice, create_engine
from lsp_server.session.exclusions import MAX_CHARACTERS, Exclusions, unsuitable_text
from lsp_server.session.line_index import LineIndex
from lsp_server.settings import Settings
from syntax.languages import LANGUAGES

_POSITION = re.compile(r"(?P<file>.+):(?P<line>[0-9]+):(?P<column>[0-9]+)", re.DOTALL)
_MAX_DIGITS = 12
"""Digits of a line or column; the last line of the largest file has fewer."""
_MAX_BYTES = 4 * MAX_CHARACTERS
"""UTF-8 needs up to four bytes for each of the characters of a file."""


def complete(
    context: typer.Context,
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
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    engine_model: common.EngineModel = None,
    tokenizer: common.TokenizerOption = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print only the suggestion.")] = False,
) -> None:
    """Print the suggestion for a position in a file.

    In files that editors exclude by default, such as .env files and keys, nothing is suggested.
    """
    with common.plain_errors():
        snapshot = read_snapshot(position)
        server = read_server(context, engine_url, engine_token, engine_model, tokenizer)
        settings = EngineSettings(model=model, dtype=dtype, device=device, offline=offline)
        result, note = asyncio.run(_complete(snapshot, choose_engine(settings, server)))
        if note:
            common.stderr().print(Text(note, style="dim"), soft_wrap=True)
        if plain:
            _print_plain(result)
        else:
            _print_result(snapshot, result)


def read_snapshot(position: str) -> Snapshot:
    """Return the snapshot for FILE:LINE:COL; raises ConfigurationError."""
    match = _POSITION.fullmatch(position)
    if match is None:
        raise ConfigurationError(
            f"{position!r} is not a position. Give FILE:LINE:COL, such as main.py:12:5."
        )
    file, line, column = Path(match["file"]), match["line"], match["column"]
    text = _read(file)
    index = LineIndex(text)
    num_lines = len(index.starts)
    if len(line) > _MAX_DIGITS or not 1 <= int(line) <= num_lines:
        lines = "1 line" if num_lines == 1 else f"{num_lines} lines"
        raise ConfigurationError(f"{file} has {lines}; there is no {line}:{column}.")
    start, end = _line_bounds(index, int(line), text)
    if len(column) > _MAX_DIGITS or not 1 <= int(column) <= end - start + 1:
        raise ConfigurationError(
            f"Line {line} of {file} has {end - start} characters; there is no {line}:{column}. "
            f"Its end is {line}:{end - start + 1}."
        )
    cursor = start + int(column) - 1
    # A link is not followed: patterns match the name that the user gave, as in an editor.
    uri = Path(os.path.abspath(file)).as_uri()
    language = LANGUAGES.get(file.suffix, file.suffix.lstrip("."))
    return Snapshot(uri, language, text, cursor)


def _line_bounds(index: LineIndex, line: int, text: str) -> tuple[int, int]:
    """Return where a line, which counts from 1, begins and ends, without its line ending."""
    start = index.starts[line - 1]
    end = index.starts[line] if line < len(index.starts) else len(text)
    return start, start + len(text[start:end].rstrip("\r\n"))


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            # A device such as /dev/zero has no end.
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigurationError(
                f"{file} is larger than {_MAX_BYTES // 1_000_000} MB. Nothing is suggested in it."
            )
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {reason_of(error)}.") from None


async def _exclusion(snapshot: Snapshot) -> str | None:
    """Return why editors suggest nothing in this file by default, None if they may."""
    exclusions = Exclusions(Settings().exclude)
    excluded = await exclusions.reason(snapshot.uri, checks_git=False)
    return excluded or unsuitable_text(snapshot.text)


def _print_plain(result: CompletionResult) -> None:
    """Print only the text; into a pipe or a file as UTF-8, as editors write files."""
    if not result.suggestions:
        common.stderr().print(Text(_no_suggestion(result), style="dim"), soft_wrap=True)
        return
    text = result.suggestions[0].text
    if sys.stdout.isatty():
        typer.echo(common.printable(text))
    else:
        sys.stdout.buffer.write(f"{text}\n".encode())


def _no_suggestion(result: CompletionResult) -> str:
    return f"No suggestion: {common.printable(result.explanation).removesuffix('.')}."


async def _complete(snapshot: Snapshot, choice: EngineChoice) -> tuple[CompletionResult, str]:
    """Return the suggestions, and a note on what the model cannot do."""
    if reason := await _exclusion(snapshot):
        return CompletionResult((), Source.NONE, reason), ""
    engine = create_engine(choice)
    try:
        result = await Completer(engine).complete(snapshot, Trigger.INVOKED)
        return result, detect(await engine.tokenizer()).note
    finally:
        await engine.aclose()


def _print_result(snapshot: Snapshot, result: CompletionResult) -> None:
    if not result.suggestions:
        terminal.print_line(_no_suggestion(result), style="dim")
        return
    suggestion = result.suggestions[0]
    line = Text(common.printable(snapshot.line_before))
    line.append(common.printable(suggestion.text), style="black on bright_cyan")
    line.append(common.printable(snapshot.text[suggestion.replace_end :].split("\n", 1)[0]))
    terminal.print_line(line)
    terminal.print_line(f"{suggestion.source}, {result.model_ms:.0f} ms", style="dim")
