"""`starcoder-lsp demo`: completions of the real server, shown in a terminal."""

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
class Example:
    """A cursor in the sample file, and the text that is typed there."""

    name: str
    before: str
    """Text left of the cursor; it occurs only once in the file."""
    removed: str
    """Text right of the cursor that is deleted first, so that the model has something to write."""
    typed: str


_IDLE_TIMEOUT_S = 60
"""Seconds without a request after which the demo's engine exits, earlier than an editor's."""

_GHOST_STYLE = "italic bright_cyan"
_FROM_MODEL = frozenset({Source.MODEL, Source.JOINED})
_FROM_CACHE = (Source.CACHE, Source.TYPED_THROUGH)

EXAMPLES: Sequence[Example] = (
    Example("in the middle of a line", "        self.station", " = station", " = "),
    Example(
        "on a new line in a function", "    readings = []\n", "    with open(path) as f:", "    "
    ),
    Example("inside a call", "parser.add_argument(", '"path", help="the file to read"', '"'),
    Example("after `def`", '"celsius": self.celsius}\n\n', "", "    def "),
    Example(
        "in a loop",
        "    for reading in load(args.path):\n",
        "        print(reading.station, reading.celsius)",
        "        print(",
    ),
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One suggestion of the demo."""

    title: str
    line: tuple[str, str]
    """The current line's text left and right of the cursor."""
    ghost: GhostText


def demo(
    model: common.Model = common.DEFAULT_MODEL,
    save: Annotated[
        str | None, typer.Option("--save-svg", metavar="FILE", help="Save the output as a picture.")
    ] = None,
) -> None:
    """Type into a sample file through the real server, and show its suggestions."""
    console = Console(record=save is not None, width=100 if save else None, highlight=False)
    with common.plain_errors():
        asyncio.run(_run(console, model))
    if save:
        console.save_svg(save, title="starcoder-lsp demo")


async def _run(console: Console, model: str) -> None:
    console.print("Starting the server over stdio, as an editor does …", style="dim")
    started = time.perf_counter()
    # Eager: a demo also shows suggestions of low confidence.
    settings = {
        "model": model,
        "idleTimeoutSeconds": _IDLE_TIMEOUT_S,
        "eagerness": "eager",
        "statistics": False,
    }
    async with editor_with_server(settings) as editor:
        editor.open(_sample())
        await editor.wait_until_ready()
        ready = time.perf_counter() - started
        _print_introduction(console, editor, ready)
        results = []
        for example in EXAMPLES:
            results.append(await _type_example(editor, example))
            _print_result(console, results[-1])
        longest = max(range(len(EXAMPLES)), key=lambda index: len(results[index].ghost.text))
        for repeat in (_type_through, _request_again):
            results.append(await repeat(editor, EXAMPLES[longest]))
            _print_result(console, results[-1])
        _print_summary(console, results)


def _print_introduction(console: Console, editor: ScriptedEditor, seconds: float) -> None:
    status = editor.status
    model = "the embedded demo model" if status["demo"] else "the model"
    console.print(
        f"Ready after {seconds:.1f} s. Suggestions come from {model} "
        f"([bold]{escape(status['model'])}[/] on {status['device']}).\n"
    )


async def _type_example(editor: ScriptedEditor, example: Example) -> DemoResult:
    """Open the sample file, type the example's text, and return the suggestion."""
    editor.open(_sample())
    editor.put_cursor(example.before, example.removed)
    editor.edit(len(example.removed), "")
    ghost = await editor.type(example.typed)
    return DemoResult(example.name, editor.current_line, ghost)


async def _type_through(editor: ScriptedEditor, example: Example) -> DemoResult:
    """Type the first characters of a suggestion; the server need not ask the model again."""
    first = (await _type_example(editor, example)).ghost
    ghost = await editor.type(first.text[:2] or " ")
    return DemoResult("typing the suggestion", editor.current_line, ghost)


async def _request_again(editor: ScriptedEditor, example: Example) -> DemoResult:
    """Request a suggestion at the same cursor a second time."""
    await _type_example(editor, example)
    return DemoResult("the same request again", editor.current_line, await editor.invoke())


def _print_result(console: Console, result: DemoResult) -> None:
    ghost = result.ghost
    head = (
        f"[bold]{result.title}[/]  [dim]{ghost.milliseconds:.0f} ms, {escape(ghost.explanation)}[/]"
    )
    console.print(head)
    left, right = result.line
    line = Text(f"  {left}")
    first, *rest = ghost.text.split("\n")
    line.append(first, style=_GHOST_STYLE)
    line.append(right[len(ghost.replaced) :] if not rest else "")
    console.print(line, soft_wrap=True)
    for line_below in rest:
        console.print(Text("  ").append(line_below, style=_GHOST_STYLE), soft_wrap=True)
    console.print()


def _print_summary(console: Console, results: Sequence[DemoResult]) -> None:
    parts = []
    for sources, origin in ((_FROM_MODEL, "from the model"), (_FROM_CACHE, "from the cache")):
        times = [result.ghost.milliseconds for result in results if result.ghost.source in sources]
        if times:
            parts.append(f"{len(times)} {origin}, slowest {max(times):.0f} ms")
    console.print(f"{'; '.join(parts)}.")
    console.print("Times are from the last key to the answer, with the server's debounce delay.")


def _sample() -> str:
    return resources.files("lsp_server.cli").joinpath("sample.txt").read_text(encoding="utf-8")
