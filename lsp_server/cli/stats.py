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

_EVENTS = {
    "accepted a line": "by line",
    "accepted a word": "by word",
    "kept 30 s": "kept 30 s",
    "kept 5 min": "kept 5 min",
}
"""Further events, and the names of their columns."""


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
    columns = ("language", "model", "shown", "accepted", *_EVENTS.values(), "characters")
    terminal.print_table(
        f"Suggestions, from {file}",
        columns,
        [_cells(row) for row in rows],
        empty=f"No suggestions are counted{'' if days is None else ' in this time'}. The counts "
        f"are in {file}; an editor that uses starcoder-lsp adds to them.",
    )


def _cells(row: Count) -> tuple[str, ...]:
    shown, accepted = row.events.get("shown", 0), row.events.get("accepted", 0)
    share = f" ({accepted / shown:.0%})" if shown else ""
    others = (str(row.events.get(event, 0)) for event in _EVENTS)
    return (row.language, row.model, str(shown), f"{accepted}{share}", *others, str(row.characters))
