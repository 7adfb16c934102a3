"""Time to a suggestion while more and more users type with one engine, and a chat is answered.

Each user has an editor, a server process and a passage of a real file to type: one to three keys at
a time, with the rhythm of people, then a look at the suggestion. A time counts if it belongs to the
last key of such a burst and the model was asked. Each number of users gives as many times.

All share one engine process, as in daily use, and here the machine too. So the tables also have the
processor time of each side and the number of busy cores. The editors use almost no processor time
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

_BURST_KEYS = (1, 3)
"""Minimum and maximum number of keys in a burst."""
_LOOK_S = (0.2, 0.6)
"""Minimum and maximum seconds that a user looks at a suggestion."""
_CHAT_PROMPT, _CHAT_TOKENS = 300, 200
_FROM_MODEL = ("model", "joined")
"""Sources of answers for which the model was asked, at this key or at the previous one."""


@dataclass
class Case:
    """One number of users, with or without a chat, and what was measured."""

    editors: int
    chat: bool
    milliseconds: list[float] = field(default_factory=list)
    """Milliseconds from the last key of a burst to its answer."""
    keys: int = 0
    seconds: float = 0.0
    chat_tokens: int = 0
    servers_s: float = 0.0
    """Processor seconds of the language servers."""
    engine_s: float = 0.0
    """Processor seconds of the engine."""
    busy_s: float = 0.0
    """Processor seconds of the whole machine."""

    def percentile(self, share: float) -> float:
        """Return a percentile of the times, in milliseconds."""
        return percentile(sorted(self.milliseconds), share)


def cases(max_editors: int) -> list[Case]:
    """Return the cases of 1, 2, 4 ... editors, each without and with a chat."""
    counts = [count for count in (1, 2, 4, 8, 16) if count <= max_editors]
    return [Case(count, chat) for chat in (False, True) for count in counts]


@dataclass
class _User:
    """A user and the rest of the passage; each case goes on where the previous one ended.

    So the share of keys that open a file, and need a whole prompt, does not depend on the number of
    users.
    """

    editor: LightEditor
    rest: str = ""


@dataclass
class _Load:
    """The users, their passages, and the engine that they share."""

    users: Sequence[_User]
    passages: list[Passage]
    engine: ManagedEngine
    engine_process: psutil.Process

    async def run(self, case: Case, answers: int, rng: random.Random) -> None:
        """Continue a case until it has `answers` more times."""
        chat = asyncio.create_task(_chat(self.engine, case, rng)) if case.chat else None
        enough, started = len(case.milliseconds) + answers, time.monotonic()
        before = self._processor_seconds(case.editors)
        typing = self.users[: case.editors]
        await asyncio.gather(*(self._type(user, case, enough, rng) for user in typing))
        case.seconds += time.monotonic() - started
        after = self._processor_seconds(case.editors)
        servers, engine, machine = (b - a for a, b in zip(before, after, strict=True))
        case.servers_s += servers
        case.engine_s += engine
        case.busy_s += machine
        if chat is not None:
            chat.cancel()
            with suppress(asyncio.CancelledError):
                await chat

    async def _type(self, user: _User, case: Case, enough: int, rng: random.Random) -> None:
        """Type passages until the case has enough times."""
        await asyncio.sleep(rng.random())  # the users do not start together
        while len(case.milliseconds) < enough:
            if not user.rest:
                passage = self.passages.pop(0)
                self.passages.append(passage)
                user.editor.open(passage)
                user.rest = passage.file.text[passage.start : passage.end].rstrip("\n")
            burst = user.rest[: rng.randint(*_BURST_KEYS)]
            user.rest = user.rest[len(burst) :]
            gaps = [rng.lognormvariate(0, SPREAD) * MEDIAN_MS / 1000 for _ in burst]
            answer = await user.editor.type(burst, gaps)
            case.keys += len(burst)
            if answer.source in _FROM_MODEL:
                case.milliseconds.append(answer.milliseconds)
            await asyncio.sleep(rng.uniform(*_LOOK_S))

    def _processor_seconds(self, editors: int) -> tuple[float, float, float]:
        """Return the processor seconds so far: of the servers, the engine, the machine."""
        servers = [psutil.Process(user.editor.process.pid) for user in self.users[:editors]]
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return sum(map(_seconds, servers)), _seconds(self.engine_process), busy


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _chat(engine: ManagedEngine, case: Case, rng: random.Random) -> None:
    """Send long chat requests, one after the other."""
    size = (await engine.tokenizer()).vocab_size
    while True:
        prompt = tuple(rng.randrange(30, size) for _ in range(_CHAT_PROMPT))
        request = GenerationRequest(prompt, _CHAT_TOKENS, priority=Priority.CHAT)
        async for chunk in engine.stream(request):
            case.chat_tokens += len(chunk.ids)


@asynccontextmanager
async def _load(model: str, editors: int, typed_passages: list[Passage]) -> AsyncIterator[_Load]:
    """Start the editors and their servers, with an engine of their own."""
    settings = {
        "model": model,
        "eagerness": "eager",
        "statistics": False,
        "respectGitignore": False,
    }
    engine = ManagedEngine(EngineSettings(model=model))
    async with AsyncExitStack() as stack:
        users = [
            _User(await stack.enter_async_context(light_editor(settings))) for _ in range(editors)
        ]
        for user in users:
            await user.editor.wait_until_ready()
        pid = (await engine.health()).pid
        assert pid is not None
        yield _Load(users, typed_passages, engine, psutil.Process(pid))
        await engine.aclose()
    psutil.Process(pid).terminate()


async def measure(
    folder: Path, model: str, max_editors: int, rounds: int, answers: int
) -> list[Case]:
    """Measure all cases, by turns."""
    measured, rng = cases(max_editors), random.Random(0)
    typed_passages = passages(source_files(folder), 60, 12, 0)
    async with _load(model, max_editors, typed_passages) as load:
        await load.run(Case(max_editors, True), 2 * max_editors, rng)  # warms up
        for _ in range(rounds):
            for case in measured:
                await load.run(case, -(-answers // rounds), rng)
    return measured


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the source files.")],
    model: ModelOption = "demo",
    most: Annotated[int, typer.Option(min=1, max=16, help="Maximum number of editors.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each case takes.")] = 3,
    answers: Annotated[int, typer.Option(min=3, help="Times per case, over all rounds.")] = 60,
    json_file: JsonOption = None,
) -> None:
    """Measure the time to a suggestion by the number of editors, and the processor time."""
    with tempfile.TemporaryDirectory() as runtime:
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = runtime
        measured = asyncio.run(measure(folder, model, most, rounds, answers))
    Console(width=140).print(_table(model, measured))
    Console().print(machine())
    if json_file is not None:
        rows = [asdict(case) for case in measured]
        json_file.write_text(json.dumps({"machine": machine(), "cases": rows}))


_COLUMNS = (
    "editors",
    "chat",
    "keys",
    "answers",
    "p50",
    "÷ one editor's",
    "p95",
    "÷ one editor's",
    "server ms per key",
    "engine ms per key",
    "busy cores",
    "chat tokens per second",
)


def _table(model: str, measured: Sequence[Case]) -> Table:
    table = Table(title=f"{model}: ms from the last key to the model's answer")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for case in measured:
        single = next(other for other in measured if other.editors == 1 and other.chat == case.chat)
        cells = []
        for share in (0.5, 0.95):
            milliseconds = case.percentile(share)
            cells += [f"{milliseconds:.0f}", f"{milliseconds / single.percentile(share):.2f}"]
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
    return table


if __name__ == "__main__":
    typer.run(main)
