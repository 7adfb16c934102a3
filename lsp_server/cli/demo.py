"""`starcoder-lsp demo`: the main job, shown by the real server in a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from lsp_server.cli import common
from lsp_server.cli.editor import Ghost, ScriptedEditor, editor_with_server


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor place in the sample, and what is typed there."""

    name: str
    before: str
    """Text left of the cursor, enough of it to be found once."""
    removed: str
    """Text right of the cursor that is deleted first, so that there is something to write."""
    typed: str


PLACES: Sequence[Place] = (
    Place("in the middle of a line", "        self.station", " = station", " = "),
    Place("on a new line in a function", "    readings = []\n", "    with open(path) as f:", "    "),
    Place("inside a call", "parser.add_argument(", '"path", help="the file to read"', '"'),
    Place("after `def`", "    return readings\n\n\n", "", "def "),
    Place("in a loop", "    for reading in load(args.path):\n", "        print(reading.station, reading.celsius)", "        print("),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One row of the result."""

    place: str
    line: str
    ghost: Ghost


def demo(
    model: common.Model = common.DEFAULT_MODEL,
    save: Annotated[
        str | None, typer.Option("--save-svg", metavar="FILE", help="Keep the output as a picture.")
    ] = None,
) -> None:
    """Type into a sample file through the real server, and show what it suggests."""
    console = Console(record=save is not None, width=100 if save else None)
    with common.plain_errors():
        asyncio.run(_run(console, model))
    if save:
        console.save_svg(save, title="starcoder-lsp demo")


async def _run(console: Console, model: str) -> None:
    console.print("Starting the server over stdio, as an editor does …", style="dim")
    async with editor_with_server({"model": model}) as editor:
        editor.open(_sample())
        await editor.wait_until_ready()
        console.print(_who_writes(editor))
        shown = [await _visit(console, editor, place) for place in PLACES]
        shown += await _reuse(console, editor)
        console.print(_table(shown))


def _sample() -> str:
    return resources.files("lsp_server.cli").joinpath("sample.txt").read_text(encoding="utf-8")
