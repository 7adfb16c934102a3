"""Servers of other projects with the demo model, compared with our engine in the same run.

For each server that is installed: half-typed words completed, prompts whose greedy output is the
same, and the time of a completion relative to ours.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, machine
from benchmarks.servers.fleet import PARTS, Fleet
from benchmarks.servers.greedy import generate, greedy_prompts
from benchmarks.servers.half_typed import completed, half_typed_words
from benchmarks.servers.kinds import INSTALLED, Place
from benchmarks.servers.process import ServerProcess
from engine.api import Engine
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.loading.on_disk import EMBEDDED_DIR
from engine.local import LocalEngine
from engine.settings import EngineSettings

_OURS = "ours"


@dataclass(slots=True)
class Figures:
    """What was measured of one engine."""

    completed: int = 0
    """Half-typed words that it completed."""
    texts: list[str] = field(default_factory=list)
    """The greedy output for each prompt."""
    milliseconds: list[float] = field(default_factory=list)
    """The time of each of these outputs."""

    def same(self, other: Figures) -> int:
        """Return for how many prompts another engine's output is the same."""
        return sum(map(str.__eq__, self.texts, other.texts))


async def _measure(engines: Mapping[str, Engine], words: int, prompts: int) -> dict[str, Figures]:
    """Measure all engines; they take turns, so that other load affects all of them alike."""
    figures = {name: Figures() for name in engines}
    tokenizer = await engines[_OURS].tokenizer()
    for prompt in greedy_prompts(tokenizer, prompts):
        for name, engine in engines.items():
            await generate(engine, prompt)  # the second time, each has it in its prefix cache
            output = await generate(engine, prompt)
            figures[name].texts.append(output.text)
            figures[name].milliseconds.append(output.milliseconds)
    half_typed = half_typed_words(words)
    for name, engine in engines.items():
        figures[name].completed = sum(await completed(engine, half_typed))
    return figures


async def _compare(
    servers: Mapping[str, ServerProcess], words: int, prompts: int
) -> dict[str, Figures]:
    ours = LocalEngine(EngineSettings(model="demo", device="cpu", dtype="float32"))
    others = {
        name: HttpEngine(
            Endpoint(server.url, token=server.token), RemoteModel(tokenizer=EMBEDDED_DIR)
        )
        for name, server in servers.items()
    }
    try:
        return await _measure({_OURS: ours, **others}, words, prompts)
    finally:
        await ours.aclose()
        for engine in others.values():
            await engine.aclose()


def _report(figures: Mapping[str, Figures], words: int, prompts: int) -> None:
    ours = figures[_OURS]
    table = Table(title="Servers with the demo model in float32")
    for column in ("", f"of {words} words", "÷ ours", f"same of {prompts}", "ms", "÷ ours"):
        table.add_column(column, justify="right")
    our_time = statistics.median(ours.milliseconds)
    for name, each in figures.items():
        time = statistics.median(each.milliseconds)
        healed = f"{each.completed / max(1, ours.completed):.2f}"
        same = str(each.same(ours))
        table.add_row(
            name, str(each.completed), healed, same, f"{time:.1f}", f"{time / our_time:.2f}"
        )
    Console().print(table)
    Console().print(machine())


def main(
    words: Annotated[int, typer.Option(min=1, help="Number of half-typed words.")] = 150,
    prompts: Annotated[int, typer.Option(min=1, help="Number of greedy outputs.")] = 50,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only these servers: {', '.join(PARTS)}.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Compare the servers that `make test-servers` has installed with our engine."""
    with tempfile.TemporaryDirectory() as scratch:
        fleet = Fleet(Place(INSTALLED.resolve(), Path(scratch)), tuple(only or PARTS))
        try:
            for name in fleet.names:
                if reason := fleet.why_missing(name):
                    print(f"not measured: {reason}")
            servers = {name: fleet[name] for name in fleet.names if not fleet.why_missing(name)}
            figures = asyncio.run(_compare(servers, words, prompts))
        finally:
            fleet.stop()
    _report(figures, words, prompts)
    if json_file is not None:
        runs = {name: asdict(each) for name, each in figures.items()}
        json_file.write_text(json.dumps({"machine": machine(), "runs": runs}), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
