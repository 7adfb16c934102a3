"""Time to a suggestion with and without a user who floods the server, through `serve` with keys.

Eight people type: each asks for a completion, reads it, types a few letters and asks again. In
every second period a further user keeps 64 requests open. The periods alternate, so that other load
of the machine affects both alike. The first seconds of each period do not count.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, machine
from engine.server.users.key_file import StoredLimits, create_key
from fim.evaluation.files import source_files
from fim.evaluation.report import percentile

_WARM_UP_S = 3.0
_PROMPT, _STEP = (400, 1500), (1, 12)
"""Bounds of the characters of a prompt, and of those typed between two requests."""
_PAUSE_S = (0.3, 1.2)
_NEW_TOKENS = 16
_READY_S = 120.0


@dataclass
class Load:
    """The server, its users, and the times of the typists in milliseconds."""

    url: str
    typists: Sequence[str]
    """Keys of the people who type."""
    flooder: str
    texts: Sequence[str]
    flood: int
    """Number of requests that the flooding user keeps open."""
    alone: list[float] = field(default_factory=list)
    flooded: list[float] = field(default_factory=list)
    num_flood: int = 0
    """Number of answers of the flooding user."""
    _times: list[float] = field(default_factory=list)
    """Where the times of requests that start now are recorded."""
    _rng: random.Random = field(default_factory=lambda: random.Random(0))

    async def run(self, seconds: float, periods: int) -> None:
        """Let people type all the time, and the further user flood in every second period."""
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(timeout=600, limits=limits, base_url=self.url) as client:
            typing = [asyncio.create_task(self._type(client, key)) for key in self.typists]
            await asyncio.sleep(_WARM_UP_S)
            for _ in range(periods):
                await self._measure(self.alone, seconds)
                flood = [asyncio.create_task(self._flood(client)) for _ in range(self.flood)]
                await self._measure(self.flooded, seconds)
                await _cancel(flood)
            for task in typing:
                if task.done():
                    task.result()
            await _cancel(typing)

    async def _measure(self, times: list[float], seconds: float) -> None:
        await asyncio.sleep(_WARM_UP_S)
        self._times = times
        await asyncio.sleep(seconds)
        self._times = []

    async def _type(self, client: httpx2.AsyncClient, key: str) -> None:
        text, cursor = self._rng.choice(self.texts), self._rng.randint(*_PROMPT)
        while True:
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
            cursor += self._rng.randint(*_STEP)
            if cursor > min(len(text), _PROMPT[1]):
                text, cursor = self._rng.choice(self.texts), self._rng.randint(*_PROMPT)
            started, times = time.monotonic(), self._times
            await self._complete(client, key, text[:cursor])
            times.append((time.monotonic() - started) * 1000)

    async def _flood(self, client: httpx2.AsyncClient) -> None:
        while True:
            text = self._rng.choice(self.texts)
            start = self._rng.randrange(len(text) // 2)
            prompt = text[start : start + self._rng.randint(*_PROMPT)]
            await self._complete(client, self.flooder, prompt)
            self.num_flood += 1

    async def _complete(self, client: httpx2.AsyncClient, key: str, prompt: str) -> None:
        answer = await client.post(
            "/v1/completions",
            json={"prompt": prompt, "max_tokens": _NEW_TOKENS},
            headers={"Authorization": f"Bearer {key}"},
        )
        answer.raise_for_status()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def serving(model: str, keys: Path) -> Iterator[str]:
    """Run `serve` inside the block and yield its URL."""
    command = [sys.executable, "-P", "-m", "lsp_server", "serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--keys", str(keys), "--access-log", "off"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "listening on" in line)
        yield line.split()[-1].removesuffix("/v1")
    finally:
        process.terminate()
        process.communicate()


def measure(
    model: str, texts: Sequence[str], *, users: int, flood: int, seconds: float, periods: int
) -> Load:
    """Return the times of `users` typists in this number of periods of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        typists = [create_key(keys, f"user{number}", StoredLimits()) for number in range(users)]
        flooder = create_key(keys, "flood", StoredLimits())
        with serving(model, keys) as url:
            load = Load(url, typists, flooder, texts, flood)
            _wait_until_ready(url, flooder)
            asyncio.run(load.run(seconds, periods))
    return load


def _wait_until_ready(url: str, key: str) -> None:
    httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=_READY_S)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the source files.")],
    model: ModelOption = "demo",
    users: Annotated[int, typer.Option(help="Number of people who type.")] = 8,
    flood: Annotated[int, typer.Option(help="Requests that the flooding user keeps open.")] = 64,
    seconds: Annotated[float, typer.Option(help="Seconds of each period.")] = 20,
    periods: Annotated[int, typer.Option(help="Periods of each kind.")] = 3,
    json_file: JsonOption = None,
) -> None:
    """Measure how much a flooding user slows the others down."""
    texts = [file.text for file in source_files(folder) if len(file.text) > 2 * _PROMPT[1]]
    load = measure(model, texts, users=users, flood=flood, seconds=seconds, periods=periods)
    table = Table(title=f"{model}: ms to a completion of {users} users")
    for column in ("flooded", "answers", "p50", "p95", "p95 ÷ alone"):
        table.add_column(column, justify="right")
    alone_ms = percentile(sorted(load.alone), 0.95)
    for name, times in (("no", sorted(load.alone)), ("yes", sorted(load.flooded))):
        p50, p95 = (percentile(times, share) for share in (0.5, 0.95))
        table.add_row(name, str(len(times)), f"{p50:.0f}", f"{p95:.0f}", f"{p95 / alone_ms:.2f}")
    Console().print(table)
    Console().print(f"{load.num_flood} answers of the flooding user; {machine()}")
    if json_file is not None:
        row = {"alone": load.alone, "flooded": load.flooded, "flood_answers": load.num_flood}
        json_file.write_text(json.dumps({"machine": machine(), **row}))


if __name__ == "__main__":
    typer.run(main)
