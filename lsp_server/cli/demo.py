"""`starcoder-lsp demo`: completions of the real server, shown in a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from fim.evaluation.counts import GhostText
from fim.snapshot import Source
from lsp_server.cli import common
from lsp_server.cli.editor import ScriptedEditor, editor_with_server
from lsp_server.cli.engine_server import EngineServer, client_settings, read_server
from lsp_server.cli.outputs import check_output, writing


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
_PICTURE_WIDTH = 100
_ORIGINS = (
    ("from the model", (Source.MODEL, Source.JOINED)),
    ("from the cache", (Source.CACHE, Source.TYPED_THROUGH)),
)

EXAMPLES: Sequence[Example] = (
    Example("after an equals sign", "logger", " = logging.getLogger(__name__)", " = "),
    Example("inside a call", "logging.getLogger(", "__name__", "_"),
    Example(
        "on a new line in a function",
        "    readings = []\n",
        "    with open(path) as f:",
        "    with ",
    ),
    Example("after `def`", '"celsius": self.celsius}\n\n', "", "    def "),
    Example("in a condition", "if __name__", ' == "__main__":', " =="),
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One suggestion of the demo."""

    title: str
    line: tuple[str, str]
    """The current line's text left and right of the cursor."""
    ghost: GhostText


def demo(
    context: typer.Context,
    model: common.Model = common.DEFAULT_MODEL,
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    engine_model: common.EngineModel = None,
    tokenizer: common.TokenizerOption = None,
    save: Annotated[
        Path | None,
        typer.Option("--save-svg", metavar="FILE", help="Save the output as a picture."),
    ] = None,
) -> None:
    """Type into a sample file through the real server, and show its suggestions."""
    width = _PICTURE_WIDTH if save else None
    console = Console(record=save is not None, width=width, highlight=False, emoji=False)
    with common.plain_errors():
        check_output(save, "--save-svg")
        server = read_server(context, engine_url, engine_token, engine_model, tokenizer)
        asyncio.run(_run(console, model, server))
        if save:
            with writing(save):
                console.save_svg(str(save), title="starcoder-lsp demo")


async def _run(console: Console, model: str, server: EngineServer | None) -> None:
    console.print("Starting the server over stdio, as an editor does …", style="dim")
    started = time.perf_counter()
    # Eager: a demo also shows suggestions of low confidence.
    settings = {
        "model": model,
        **client_settings(server),
        "idleTimeoutSeconds": _IDLE_TIMEOUT_S,
        "eagerness": "eager",
        "statistics": False,
    }
    async with editor_with_server(settings) as editor:
        editor.open(_sample())
        await editor.wait_until_ready()
        ready = time.perf_counter() - started
        place = None if server is None else server.address
        _print_introduction(console, editor, ready, place or str(editor.status["device"]))
        results = []
        for example in EXAMPLES:
            results.append(await _type_example(editor, example))
            _print_result(console, results[-1])
        longest = max(range(len(EXAMPLES)), key=lambda index: len(results[index].ghost.text))
        for repeat in (_type_through, _ask_again):
            results.append(await repeat(editor, EXAMPLES[longest]))
            _print_result(console, results[-1])
        _print_summary(console, results)


def _print_introduction(
    console: Console, editor: ScriptedEditor, seconds: float, place: str
) -> None:
    status = editor.status
    model = "the embedded demo model" if status["demo"] else "the model"
    console.print(
        f"Ready after {seconds:.1f} s. Suggestions come from {model} "
        f"([bold]{escape(common.printable(status['model']))}[/] on "
        f"{escape(common.printable(place))}).\n",
        soft_wrap=True,
    )


async def _type_example(editor: ScriptedEditor, example: Example) -> DemoResult:
    """Open the sample file, type the example's text, and return the suggestion.

    Only the last key sends a request. A fast model would answer an earlier one, and the rest of the
    text would then be typed through its suggestion.
    """
    editor.open(_sample())
    editor.put_cursor(example.before, example.removed)
    editor.edit(len(example.removed), example.typed[:-1])
    ghost = await editor.type(example.typed[-1])
    return DemoResult(example.name, editor.current_line, ghost)


async def _type_through(editor: ScriptedEditor, example: Example) -> DemoResult:
    """Type the first characters of a suggestion; the server need not ask the model again."""
    first = (await _type_example(editor, example)).ghost
    ghost = await editor.type(first.text[:2] or " ")
    return DemoResult("typing the suggestion", editor.current_line, ghost)


async def _ask_again(editor: ScriptedEditor, example: Example) -> DemoResult:
    """Ask for suggestions at the same cursor with the editor's command, which asks the model."""
    await _type_example(editor, example)
    ghost = await editor.invoke()
    return DemoResult("asking again with the command", editor.current_line, ghost)


def _print_result(console: Console, result: DemoResult) -> None:
    ghost = result.ghost
    explanation = ghost.explanation if ghost.text else f"no suggestion: {ghost.explanation}"
    console.print(
        Text(result.title, style="bold")
        + Text(f"  {ghost.milliseconds:.0f} ms, {common.printable(explanation)}", style="dim"),
        soft_wrap=True,
    )
    left, right = result.line
    line = Text(f"  {left}")
    first, *rest = common.printable(ghost.text).split("\n")
    line.append(first, style=_GHOST_STYLE)
    line.append(right[len(ghost.replaced) :] if not rest else "")
    console.print(line, soft_wrap=True)
    for line_below in rest:
        console.print(Text("  ").append(line_below, style=_GHOST_STYLE), soft_wrap=True)
    console.print()


def _print_summary(console: Console, results: Sequence[DemoResult]) -> None:
    parts = []
    with_text = [result.ghost for result in results if result.ghost.text]
    for origin, sources in _ORIGINS:
        times = [ghost.milliseconds for ghost in with_text if ghost.source in sources]
        if times:
            parts.append(f"{len(times)} {origin}, slowest {max(times):.0f} ms")
    if len(with_text) < len(results):
        parts.append(f"{len(results) - len(with_text)} without a suggestion")
    console.print(f"{'; '.join(parts)}.", soft_wrap=True)
    console.print(
        "Times are from the last key to the answer, with the server's debounce delay.",
        soft_wrap=True,
    )


def _sample() -> str:
    return resources.files("lsp_server.cli").joinpath("sample.txt").read_text(encoding="utf-8")
