"""`starcoder-lsp stats`: how many suggestions were shown, accepted and kept on this machine."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import Annotated

import typer

from engine.errors import ConfigurationError
from lsp_server.cli import common, terminal
from lsp_server.session.statistics import Count, read, statistics_file

_COLUMNS = ("shown", "accepted", "accepted a line", "accepted a word", "kept 30 s", "kept 5 min")


def stats(
    days: Annotated[float | None, typer.Option(min=0, help="Count only the last n days.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the counts.")] = False,
) -> None:
    """Show how many suggestions were shown, accepted and kept, by language and model.

    The counts never leave this machine. The setting `starcoder.statistics` turns counting off.
    """
    file = statistics_file()
    with common.plain_errors():
        if forget:
            file.unlink(missing_ok=True)
            typer.echo("The counts are deleted.")
            return
        try:
            rows = read(file, days)
        except sqlite3.Error as error:
            raise ConfigurationError(f"{file} cannot be read: {error}. Delete it.") from None
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    columns = ("language", "model", *_COLUMNS, "accepted, %", "characters")
    terminal.print_table(
        f"Suggestions, from {file}",
        columns,
        [_cells(row) for row in rows],
        empty=f"No suggestions are counted{'' if days is None else ' in this time'}. The counts "
        f"are in {file}; an editor that uses starcoder-lsp adds to them.",
    )


def _cells(row: Count) -> tuple[str, ...]:
    shown, accepted = row.events.get("shown", 0), row.events.get("accepted", 0)
    share = f"{accepted / shown:.0%}" if shown else ""
    numbers = (str(row.events.get(column, 0)) for column in _COLUMNS)
    return (row.language, row.model, *numbers, share, str(row.characters))
