"""`starcoder-lsp demo`: the main job, shown by the real server in a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from fim.evaluation.counts import GhostText
from fim.snapshot import Source
from lsp_server.cli import common
from lsp_server.cli.editor import ScriptedEditor, editor_with_server


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor place in the sample, and what is typed there."""

    name: str
    before: str
    """Text left of the cursor, enough of it to be found once."""
    removed: str
    """Text right of the cursor that is deleted first, so that there is something to write."""
    typed: str


_IDLE_S = 60
"""The engine of a demo need not stay as long as one that is worked with."""

_GHOST = "italic bright_cyan"
_FROM_MODEL = frozenset({Source.MODEL, Source.JOINED})
_FROM_CACHE = (Source.CACHE, Source.TYPED_THROUGH)

PLACES: Sequence[Place] = (
    Place("in the middle of a line", "        self.station", " = station", " = "),
    Place(
        "on a new line in a function", "    readings = []\n", "    with open(path) as f:", "    "
    ),
    Place("inside a call", "parser.add_argument(", '"path", help="the file to read"', '"'),
    Place("after `def`", '"celsius": self.celsius}\n\n', "", "    def "),
    Place(
        "in a loop",
        "    for reading in load(args.path):\n",
        "        print(reading.station, reading.celsius)",
        "        print(",
    ),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One row of the result."""

    place: str
    line: tuple[str, str]
    """Text left and right of the cursor."""
    ghost: GhostText


def demo(
    model: common.Model = common.DEFAULT_MODEL,
    save: Annotated[
        str | None, typer.Option("--save-svg", metavar="FILE", help="Keep the output as a picture.")
    ] = None,
) -> None:
    """Type into a sample file through the real server, and show what it suggests."""
    console = Console(record=save is not None, width=100 if save else None, highlight=False)
    with common.plain_errors():
        asyncio.run(_run(console, model))
    if save:
        console.save_svg(save, title="starcoder-lsp demo")


async def _run(console: Console, model: str) -> None:
    console.print("Starting the server over stdio, as an editor does …", style="dim")
    started = time.perf_counter()
    # Eager: whoever wants to see a model sees it all, also what it is not sure of.
    settings = {
        "model": model,
        "idleTimeoutSeconds": _IDLE_S,
        "eagerness": "eager",
        "statistics": False,
    }
    async with editor_with_server(settings) as editor:
        editor.open(_sample())
        await editor.wait_until_ready()
        ready = time.perf_counter() - started
        _introduce(console, editor, ready)
        shown = []
        for place in PLACES:
            shown.append(await _visit(editor, place))
            _show(console, shown[-1])
        longest = max(range(len(PLACES)), key=lambda index: len(shown[index].ghost.text))
        for repeat in (_typed_through, _asked_again):
            shown.append(await repeat(editor, PLACES[longest]))
            _show(console, shown[-1])
        _summarize(console, shown)


def _introduce(console: Console, editor: ScriptedEditor, seconds: float) -> None:
    status = editor.status
    what = "the embedded demo model" if status["demo"] else "the model"
    console.print(
        f"Ready after {seconds:.1f} s. Written by {what} "
        f"([bold]{escape(status['model'])}[/] on {status['device']}).\n"
    )


async def _visit(editor: ScriptedEditor, place: Place) -> Shown:
    """Type at a place, keep what was shown, and put the document back."""
    editor.open(_sample())
    editor.put_cursor(place.before, place.removed)
    editor.edit(len(place.removed), "")
    ghost = await editor.type(place.typed)
    return Shown(place.name, editor.current_line, ghost)


async def _typed_through(editor: ScriptedEditor, place: Place) -> Shown:
    """Type the first characters of what is shown: no need to ask the model again."""
    ghost = (await _visit(editor, place)).ghost
    again = await editor.type(ghost.text[:2] or " ")
    return Shown("typing what is shown", editor.current_line, again)


async def _asked_again(editor: ScriptedEditor, place: Place) -> Shown:
    """Ask at the same place a second time."""
    await _visit(editor, place)
    return Shown("asking again", editor.current_line, await editor.invoke())


def _show(console: Console, shown: Shown) -> None:
    ghost = shown.ghost
    head = (
        f"[bold]{shown.place}[/]  [dim]{ghost.milliseconds:.0f} ms, {escape(ghost.explanation)}[/]"
    )
    console.print(head)
    left, right = shown.line
    line = Text(f"  {left}")
    first, *rest = ghost.text.split("\n")
    line.append(first, style=_GHOST)
    line.append(right[len(ghost.replaced) :] if not rest else "")
    console.print(line, soft_wrap=True)
    for below in rest:
        console.print(Text("  ").append(below, style=_GHOST), soft_wrap=True)
    console.print()


def _summarize(console: Console, shown: Sequence[Shown]) -> None:
    asked = [one.ghost.milliseconds for one in shown if one.ghost.source in _FROM_MODEL]
    known = [one.ghost.milliseconds for one in shown if one.ghost.source in _FROM_CACHE]
    counts = []
    if asked:
        counts.append(f"{len(asked)} from the model, slowest {max(asked):.0f} ms")
    if known:
        counts.append(f"{len(known)} without it, slowest {max(known):.0f} ms")
    console.print(f"{'; '.join(counts)}.")
    console.print("Times are from the last key to the answer, the server's pause included.")


def _sample() -> str:
    return resources.files("lsp_server.cli").joinpath("sample.txt").read_text(encoding="utf-8")
