"""`starcoder-lsp stats`: what became of suggestions on this machine."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.errors import ConfigurationError
from lsp_server.cli import common
from lsp_server.session.statistics import read, statistics_file

_COLUMNS = ("shown", "accepted", "accepted a line", "accepted a word", "kept 30 s", "kept 5 min")


def stats(
    days: Annotated[float | None, typer.Option(min=0, help="Of the last days only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the numbers.")] = False,
) -> None:
    """Show how many suggestions were shown, accepted and kept, by language and model.

    The numbers never leave this machine; the setting `starcoder.statistics` turns counting off.
    """
    file = statistics_file()
    with common.plain_errors():
        if forget:
            file.unlink(missing_ok=True)
            typer.echo("The numbers are deleted.")
            return
        try:
            counts = read(file, days)
        except sqlite3.Error as error:
            raise ConfigurationError(f"{file} cannot be read: {error}. Delete it.") from None
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in counts], indent=1))
        return
    table = Table(title=f"Suggestions, from {file}", title_justify="left")
    for column in ("language", "model", *_COLUMNS, "accepted, %", "characters"):
        table.add_column(column)
    for one in counts:
        shown, taken = one.events.get("shown", 0), one.events.get("accepted", 0)
        share = f"{taken / shown:.0%}" if shown else ""
        numbers = (str(one.events.get(column, 0)) for column in _COLUMNS)
        table.add_row(one.language, one.model, *numbers, share, str(one.characters))
    Console(highlight=False).print(table)
