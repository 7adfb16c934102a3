"""What a command prints: lines, and tables that fit every width."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lsp_server.cli.common import printable

Cell = str | Text
"""The content of a cell; a text without style is printed as it is, without markup."""

_GAP = 2
"""Columns of the terminal between two columns of a table."""
_MAX_UNBROKEN = 20
"""Width up to which a cell is not broken into lines, such as `31.2% ± 6.7%`."""
_REPLACEMENTS = {"…": "...", "±": "+/-", "–": "-", "→": "->", "·": "-"}
"""Characters that a terminal without Unicode shows in another way; the others become `?`."""
_ERROR_HANDLER = "starcoder-lsp.terminal"


def replace_unprintable(error: UnicodeError) -> tuple[str, int]:
    """Replace what the encoding of a stream cannot express; a handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_REPLACEMENTS.get(each, "?") for each in characters), error.end


def prepare_streams() -> None:
    """Let stdout and stderr print every text, also one that their encoding cannot express."""
    codecs.register_error(_ERROR_HANDLER, replace_unprintable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERROR_HANDLER)


def stdout() -> Console:
    """Return a console for the output of a command."""
    return Console(highlight=False, emoji=False)


def print_line(text: Cell, style: str = "") -> None:
    """Print a line without breaking it, so that paths and commands in it can be copied."""
    line = Text(printable(text)) if isinstance(text, str) else text
    stdout().print(line, style=style, soft_wrap=True)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    empty: str = "",
    console: Console | None = None,
) -> None:
    """Print rows below each other in columns; where they do not fit, each cell on its own line.

    The first column names the row. No cell is cut off. Without rows, `empty` is printed instead.
    """
    console = console or stdout()
    if not rows:
        console.print(Text(printable(empty)), soft_wrap=True)
        return
    cells = [[_text(cell) for cell in row] for row in rows]
    if title:
        console.print(Text(printable(title), style="italic"), soft_wrap=True)
    widths = column_widths(columns, [[cell.plain for cell in row] for row in cells], console.width)
    if widths is None:
        _print_records(console, columns, cells)
    else:
        _print_columns(console, columns, cells, widths)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))


def column_widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[int] | None:
    """Return the width of each column, or None if words would have to be broken.

    Long cells and the columns' names may be broken between words.
    """
    wide, narrow = [], []
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        wide.append(max(map(cell_len, (column, *cells))))
        narrow.append(max(_longest_word(column), *map(_unbroken, cells)))
    available = width - _GAP * (len(columns) - 1)
    if sum(narrow) > available:
        return None
    widths = list(narrow)
    while sum(widths) < available and widths != wide:
        # One cell more for the column that lacks most, relative to its width.
        index = max(range(len(widths)), key=lambda each: wide[each] / max(1, widths[each]))
        widths[index] += 1
    return widths


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _unbroken(cell: str) -> int:
    """Return the width that a cell needs at least."""
    length = cell_len(cell)
    return length if length <= _MAX_UNBROKEN else _longest_word(cell)


def _print_columns(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[Text]], widths: Sequence[int]
) -> None:
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        show_header=any(columns),
        header_style="bold",
    )
    for column, width in zip(columns, widths, strict=True):
        table.add_column(Text(column), width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_records(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[Text]]
) -> None:
    for first, *others in rows:
        console.print(first, style="bold", soft_wrap=True)
        for column, cell in zip(columns[1:], others, strict=True):
            if cell.plain:
                name = f"  {column}: " if column else "  "
                console.print(Text(name) + cell, soft_wrap=True)
