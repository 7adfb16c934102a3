"""Time to a suggestion while more and more people type on one engine, and somebody chats.

Each person has an editor, a server process and a passage of a real file to type: a few keys at a
time, as fast as people type, then a look at what is suggested. Only answers for which the model was
asked count. All share the one engine process, as on anybody's machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, machine
from engine.api import GenerationRequest, Priority
from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages
from fim.evaluation.report import percentile
from fim.evaluation.rhythm import MEDIAN_MS
from fim.evaluation.tally import Passage
from fim.snapshot import Source
from lsp_server.cli.editor import ScriptedEditor, editor_with_server

_KEYS = (3, 9)
"""Typed at a time: from, to."""
_LOOK_S = (0.2, 0.8)
"""At what is suggested."""
_CHAT_PROMPT, _CHAT_TOKENS = 300, 200


@dataclass
class Case:
    """How many type, and whether somebody chats."""

    editors: int
    chat: bool
    milliseconds: list[float] = field(default_factory=list)
    """From the last key to the answer."""
    chat_tokens: int = 0
    seconds: float = 0.0

    def share(self, part: float) -> float:
        """Return a percentile of the times."""
        return percentile(sorted(self.milliseconds), part)


def cases(most: int) -> list[Case]:
    """Return 1, 2, 4 ... editors, each without and with a chat."""
    counts = [count for count in (1, 2, 4, 8, 16) if count <= most]
    return [Case(count, chat) for chat in (False, True) for count in counts]


async def _person(
    editor: ScriptedEditor, waiting: list[Passage], case: Case, ends: float, rng: random.Random
) -> None:
    """Type passages until the time is over."""
    left = ""
    while time.monotonic() < ends:
        if not left:
            passage = waiting.pop(0)
            waiting.append(passage)
            editor.open(passage.without, passage.file.place.as_uri(), passage.file.language)
            editor.cursor = passage.start
            left = passage.file.text[passage.start : passage.end].rstrip("\n")
        size = rng.randint(*_KEYS)
        ghost = await editor.type(left[:size], MEDIAN_MS / 1000)
        left = left[size:]
        if ghost.source == Source.MODEL:
            case.milliseconds.append(ghost.milliseconds)
        await asyncio.sleep(rng.uniform(*_LOOK_S))


async def _chat(engine: ManagedEngine, case: Case, rng: random.Random) -> None:
    """Ask long questions, one after the other."""
    size = (await engine.tokenizer()).vocab_size
    while True:
        prompt = tuple(rng.randrange(30, size) for _ in range(_CHAT_PROMPT))
        request = GenerationRequest(prompt, _CHAT_TOKENS, priority=Priority.CHAT)
        async for chunk in engine.stream(request):
            case.chat_tokens += len(chunk.ids)


async def _run(
    case: Case, editors: Sequence[ScriptedEditor], waiting: list[Passage], engine: ManagedEngine,
    seconds: float, rng: random.Random,
) -> None:  # fmt: skip
    chat = asyncio.create_task(_chat(engine, case, rng)) if case.chat else None
    ends = time.monotonic() + seconds
    await asyncio.gather(
        *(_person(editor, waiting, case, ends, rng) for editor in editors[: case.editors])
    )
    case.seconds += seconds
    if chat is not None:
        chat.cancel()
        with suppress(asyncio.CancelledError):
            await chat


@asynccontextmanager
async def _everybody(model: str, count: int) -> AsyncIterator[tuple[list[ScriptedEditor], Any]]:
    """Start the editors and their servers, all with one engine that nobody else has."""
    settings = {"model": model, "eagerness": "eager", "statistics": False,
                "respectGitignore": False}  # fmt: skip
    engine = ManagedEngine(EngineSettings(model=model))
    async with AsyncExitStack() as stack:
        editors = [
            await stack.enter_async_context(editor_with_server(settings)) for _ in range(count)
        ]
        for editor in editors:
            editor.open("\n")
            await editor.wait_until_ready()
        yield editors, engine
        pid = (await engine.health()).pid
        await engine.aclose()
    if pid is not None:
        psutil.Process(pid).terminate()


async def measure(folder: Path, model: str, most: int, rounds: int, seconds: float) -> list[Case]:
    """Return all cases, which took turns."""
    found, rng = cases(most), random.Random(0)
    waiting = passages(source_files(folder), 60, 6, 0)
    async with _everybody(model, most) as (editors, engine):
        await _run(Case(most, True), editors, waiting, engine, seconds, rng)  # warms up
        for _ in range(rounds):
            for case in found:
                await _run(case, editors, waiting, engine, seconds, rng)
    return found


def main(
    folder: Annotated[Path, typer.Argument(help="Source files to type passages of.")],
    model: ModelOption = "demo",
    most: Annotated[int, typer.Option(min=1, max=16, help="Editors.")] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="That each case takes a round.")] = 15.0,
    json_file: JsonOption = None,
) -> None:
    """Print percentiles, beside those of one editor."""
    with tempfile.TemporaryDirectory() as runtime:
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = runtime
        found = asyncio.run(measure(folder, model, most, rounds, seconds))
    table = Table(title=f"{model}: ms from the last key to the model's answer")
    for column in ("editors", "chat", "answers", "p50", "p95", "p95 ÷ one editor's",
                   "chat tokens a second"):  # fmt: skip
        table.add_column(column, justify="right")
    for case in found:
        one = next(other for other in found if other.editors == 1 and other.chat == case.chat)
        p50, p95 = case.share(0.5), case.share(0.95)
        table.add_row(
            str(case.editors), "yes" if case.chat else "no", str(len(case.milliseconds)),
            f"{p50:.0f}", f"{p95:.0f}", f"{p95 / one.share(0.95):.2f}",
            f"{case.chat_tokens / case.seconds:.0f}" if case.chat else "",
        )  # fmt: skip
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept = [vars(case) for case in found]
        json_file.write_text(json.dumps({"machine": machine(), "cases": kept}))


if __name__ == "__main__":
    typer.run(main)
