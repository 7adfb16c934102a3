"""What chat costs, through the real server and engine: first token, and completions beside it.

The floor for the first token is the same dialogue asked of the engine itself, in the same run and
by turns; that for completions is the same places with nobody chatting.
"""

from __future__ import annotations

import asyncio
import json
import platform
import random
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from lsprotocol import types
from rich.console import Console
from rich.table import Table

from benchmarks.pipeline import python_file
from chat.asker import Asker
from engine.api import Message
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine
from engine.settings import EngineSettings
from fim.evaluation.report import percentile
from lsp_server.cli.editor import ScriptedEditor, editor_with_server

_QUESTION = "Write a Python function `read_lines_{}`. Return the lines of a file."
_TOKEN = "benchmark"


class _Pieces:
    """When a piece of an answer came."""

    def __init__(self, editor: ScriptedEditor) -> None:
        self.last: asyncio.Event = asyncio.Event()
        editor.client.feature("$/progress")(lambda params: self._note(params))

    def _note(self, params: types.ProgressParams) -> None:
        if params.token == _TOKEN:
            self.last.set()


async def _request(editor: ScriptedEditor, method: str, params: Any) -> Any:
    return await editor.client.protocol.send_request_async(method, params)


async def _first_by_server(editor: ScriptedEditor, pieces: _Pieces, question: str) -> float:
    talk = (await _request(editor, "starcoder/chat/create", {})).id
    pieces.last.clear()
    started = time.perf_counter()
    params = {"conversation": talk, "text": question, "partialResultToken": _TOKEN}
    asked = asyncio.ensure_future(_request(editor, "starcoder/chat/send", params))
    await pieces.last.wait()
    elapsed = (time.perf_counter() - started) * 1000
    await _request(editor, "starcoder/chat/stop", {"conversation": talk})
    await asked
    return elapsed


async def _first_by_engine(asker: Asker, question: str) -> float:
    started = time.perf_counter()
    stream = asker.stream(await asker.prepare([Message("user", question)]))
    async for chunk in stream:
        if chunk.text:
            break
    elapsed = (time.perf_counter() - started) * 1000
    await stream.aclose()
    return elapsed


async def _completion(editor: ScriptedEditor, rng: random.Random) -> float:
    """Type into a random place and ask by hand; return the milliseconds to the answer."""
    ends = [at for at in range(len(editor.text)) if editor.text.startswith(", other, ", at)]
    editor.cursor = rng.choice(ends)
    editor.edit(0, f", x{rng.randrange(10_000)}")
    return (await editor.invoke()).milliseconds


async def _measure(model: str, rounds: int, completions: int) -> dict[str, list[float]]:
    names = (
        "first token, engine",
        "first token, server",
        "completion, alone",
        "completion, during a chat",
    )
    times: dict[str, list[float]] = {name: [] for name in names}
    command = (*DEFAULT_COMMAND, "--chat-renderer", "chat.rendering:render")
    engine = ManagedEngine(EngineSettings(model=model), command)
    settings = {"model": model, "eagerness": "eager", "statistics": False}
    async with editor_with_server(settings) as editor:
        await editor.wait_until_ready()
        pieces, asker = _Pieces(editor), Asker(engine)
        for number in range(rounds + 1):
            question = _QUESTION.format(number)
            by_engine = await _first_by_engine(asker, f"{question} ")
            by_server = await _first_by_server(editor, pieces, question)
            if number:  # the first warms up
                times[names[0]].append(by_engine)
                times[names[1]].append(by_server)
        editor.open(python_file(400))
        rng = random.Random(0)
        await _completion(editor, rng)
        for number in range(completions):
            times[names[2]].append(await _completion(editor, rng))
            times[names[3]].append(await _beside_a_chat(editor, pieces, rng, number))
    await engine.aclose()
    return times


async def _beside_a_chat(
    editor: ScriptedEditor, pieces: _Pieces, rng: random.Random, number: int
) -> float:
    talk = (await _request(editor, "starcoder/chat/create", {})).id
    pieces.last.clear()
    text = _QUESTION.format(f"again_{number}")
    params = {"conversation": talk, "text": text, "partialResultToken": _TOKEN}
    asked = asyncio.ensure_future(_request(editor, "starcoder/chat/send", params))
    await pieces.last.wait()
    elapsed = await _completion(editor, rng)
    await _request(editor, "starcoder/chat/stop", {"conversation": talk})
    await asked
    return elapsed


def main(
    model: Annotated[str, typer.Option()] = "demo",
    rounds: Annotated[int, typer.Option(min=2)] = 15,
    completions: Annotated[int, typer.Option(min=2)] = 20,
    out: Annotated[Path | None, typer.Option("--json", help="Keep every time.")] = None,
) -> None:
    """Print medians and ratios."""
    times = asyncio.run(_measure(model, rounds, completions))
    table = Table(title=f"{model}; {platform.processor() or 'CPU'}, ms")
    for column in ("", "p50", "p95", "ratio of p50"):
        table.add_column(column)
    floor = 0.0
    for at, (name, found) in enumerate(times.items()):
        middle = statistics.median(found)
        floor = middle if at % 2 == 0 else floor
        p95 = percentile(sorted(found), 0.95)
        table.add_row(name, f"{middle:.1f}", f"{p95:.1f}", f"{middle / floor:.2f}")
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
