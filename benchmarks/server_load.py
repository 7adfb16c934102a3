"""Time to a suggestion while more and more people type on one engine, and somebody chats.

Each person has an editor, a server process and a passage of a real file to type: one to three keys
at a time, as fast as people type, then a look at what is suggested. Answers at the end of such a
burst count, those for which the model was asked; each number of people gives as many. All share the
one engine process, as on anybody's machine, and here the machine too: so the processor time of each
side is told, and how many of its cores were at work. The editors cost next to nothing
(`benchmarks.light_editor`).
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, machine
from benchmarks.light_editor import LightEditor, light_editor
from engine.api import GenerationRequest, Priority
from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings
from fim.evaluation.counts import Passage
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages
from fim.evaluation.report import percentile
from fim.evaluation.typing_rhythm import MEDIAN_MS, SPREAD

_KEYS = (1, 3)
"""Typed at a time: from, to."""
_LOOK_S = (0.2, 0.6)
"""At what is suggested."""
_CHAT_PROMPT, _CHAT_TOKENS = 300, 200
_ASKED = ("model", "joined")
"""Sources of what the model was asked for, by this key or the one before."""


@dataclass
class Case:
    """How many type, and whether somebody chats."""

    editors: int
    chat: bool
    milliseconds: list[float] = field(default_factory=list)
    """From the last key to the answer."""
    keys: int = 0
    seconds: float = 0.0
    chat_tokens: int = 0
    servers_s: float = 0.0
    """Of the processor: the language servers'."""
    engine_s: float = 0.0
    """The engine's."""
    busy_s: float = 0.0
    """All that the machine did."""

    def share(self, part: float) -> float:
        """Return a percentile of the times."""
        return percentile(sorted(self.milliseconds), part)


def cases(most: int) -> list[Case]:
    """Return 1, 2, 4 ... editors, each without and with a chat."""
    counts = [count for count in (1, 2, 4, 8, 16) if count <= most]
    return [Case(count, chat) for chat in (False, True) for count in counts]


@dataclass
class _Person:
    """Who types, and what is left of the passage: one case goes on where the one before ended.

    So a file is opened, and its prompt computed from nothing, as often a key with one as with many.
    """

    editor: LightEditor
    left: str = ""


@dataclass
class _Everybody:
    """Who types, at what, and what they share."""

    people: Sequence[_Person]
    waiting: list[Passage]
    engine: ManagedEngine
    engine_process: psutil.Process

    async def run(self, case: Case, answers: int, rng: random.Random) -> None:
        """Let a case go on until it has so many answers more."""
        chat = asyncio.create_task(_chat(self.engine, case, rng)) if case.chat else None
        wanted, started = len(case.milliseconds) + answers, time.monotonic()
        before = self._processor(case.editors)
        typing = self.people[: case.editors]
        await asyncio.gather(*(self._type(person, case, wanted, rng) for person in typing))
        case.seconds += time.monotonic() - started
        then = self._processor(case.editors)
        used = [b - a for a, b in zip(before, then, strict=True)]
        case.servers_s += used[0]
        case.engine_s += used[1]
        case.busy_s += used[2]
        if chat is not None:
            chat.cancel()
            with suppress(asyncio.CancelledError):
                await chat

    async def _type(self, person: _Person, case: Case, wanted: int, rng: random.Random) -> None:
        """Type passages until there are answers enough."""
        await asyncio.sleep(rng.random())  # not all at once
        while len(case.milliseconds) < wanted:
            if not person.left:
                passage = self.waiting.pop(0)
                self.waiting.append(passage)
                person.editor.open(passage)
                person.left = passage.file.text[passage.start : passage.end].rstrip("\n")
            burst = person.left[: rng.randint(*_KEYS)]
            person.left = person.left[len(burst) :]
            gaps = [rng.lognormvariate(0, SPREAD) * MEDIAN_MS / 1000 for _ in burst]
            answered = await person.editor.type(burst, gaps)
            case.keys += len(burst)
            if answered.source in _ASKED:
                case.milliseconds.append(answered.milliseconds)
            await asyncio.sleep(rng.uniform(*_LOOK_S))

    def _processor(self, editors: int) -> tuple[float, float, float]:
        """Return the seconds used so far: by servers, by the engine, by all."""
        servers = [psutil.Process(one.editor.process.pid) for one in self.people[:editors]]
        every = psutil.cpu_times()
        at_work = sum(every) - every.idle - getattr(every, "iowait", 0.0)
        return sum(map(_seconds, servers)), _seconds(self.engine_process), at_work


def _seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


async def _chat(engine: ManagedEngine, case: Case, rng: random.Random) -> None:
    """Ask long questions, one after the other."""
    size = (await engine.tokenizer()).vocab_size
    while True:
        prompt = tuple(rng.randrange(30, size) for _ in range(_CHAT_PROMPT))
        request = GenerationRequest(prompt, _CHAT_TOKENS, priority=Priority.CHAT)
        async for chunk in engine.stream(request):
            case.chat_tokens += len(chunk.ids)


@asynccontextmanager
async def _everybody(model: str, count: int, waiting: list[Passage]) -> AsyncIterator[_Everybody]:
    """Start the editors and their servers, all with one engine that nobody else has."""
    settings = {
        "model": model,
        "eagerness": "eager",
        "statistics": False,
        "respectGitignore": False,
    }
    engine = ManagedEngine(EngineSettings(model=model))
    async with AsyncExitStack() as stack:
        editors = [await stack.enter_async_context(light_editor(settings)) for _ in range(count)]
        for editor in editors:
            await editor.ready()
        pid = (await engine.health()).pid
        assert pid is not None
        people = [_Person(editor) for editor in editors]
        yield _Everybody(people, waiting, engine, psutil.Process(pid))
        await engine.aclose()
    psutil.Process(pid).terminate()


async def measure(folder: Path, model: str, most: int, rounds: int, answers: int) -> list[Case]:
    """Return all cases, which took turns."""
    found, rng = cases(most), random.Random(0)
    waiting = passages(source_files(folder), 60, 12, 0)
    async with _everybody(model, most, waiting) as everybody:
        await everybody.run(Case(most, True), 2 * most, rng)  # warms up
        for _ in range(rounds):
            for case in found:
                await everybody.run(case, -(-answers // rounds), rng)
    return found


def main(
    folder: Annotated[Path, typer.Argument(help="Source files to type passages of.")],
    model: ModelOption = "demo",
    most: Annotated[int, typer.Option(min=1, max=16, help="Editors.")] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    answers: Annotated[int, typer.Option(min=3, help="Of each case, in all.")] = 60,
    json_file: JsonOption = None,
) -> None:
    """Print percentiles beside those of one editor, and what the processor did."""
    with tempfile.TemporaryDirectory() as runtime:
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = runtime
        found = asyncio.run(measure(folder, model, most, rounds, answers))
    table = Table(title=f"{model}: ms from the last key to the model's answer")
    for column in (
        "editors",
        "chat",
        "keys",
        "answers",
        "p50",
        "÷ one's",
        "p95",
        "÷ one's",
        "server ms a key",
        "engine ms a key",
        "cores at work",
        "chat tokens a second",
    ):
        table.add_column(column, justify="right")
    for case in found:
        one = next(other for other in found if other.editors == 1 and other.chat == case.chat)
        cells = []
        for part in (0.5, 0.95):
            cells += [f"{case.share(part):.0f}", f"{case.share(part) / one.share(part):.2f}"]
        table.add_row(
            str(case.editors),
            "yes" if case.chat else "no",
            str(case.keys),
            str(len(case.milliseconds)),
            *cells,
            f"{case.servers_s / case.keys * 1000:.1f}",
            f"{case.engine_s / case.keys * 1000:.1f}",
            f"{case.busy_s / case.seconds:.1f}",
            f"{case.chat_tokens / case.seconds:.0f}" if case.chat else "",
        )
    Console(width=140).print(table)
    Console().print(machine())
    if json_file is not None:
        kept = [asdict(case) for case in found]
        json_file.write_text(json.dumps({"machine": machine(), "cases": kept}))


if __name__ == "__main__":
    typer.run(main)
