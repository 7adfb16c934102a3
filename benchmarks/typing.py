"""Typing through our whole server, and the same keys through llama.cpp's server, by turns.

Passages of real files are typed in bursts, a request at every key, the one before taken back; after
a burst the typist waits for the answer, whose time counts. Ours is the language server in a process
and the engine in another; llama.cpp's is its `/infill`, asked for one line directly, without a
language server between; both editors cost next to nothing. Both have the same weights, prompts of
the same length and the same delay after a key, and neither asks again for what is typed along a
suggestion. A token computed is one that went through the network: of prompts, of answers, or
guessed. llama.cpp is measured as it comes, prefix before suffix, and with `--spm-infill`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import httpx2
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import (
    JsonOption,
    ModelOption,
    PeerOption,
    ShapeOption,
    folder_of,
    machine,
    random_checkpoint,
)
from benchmarks.light_editor import Answered, LightEditor, light_editor
from benchmarks.llama_server import LlamaEditor, llama_server
from engine.client.endpoint import Meeting
from engine.client.managed import ManagedEngine
from engine.loading.load import threads_for
from engine.loading.model_size import parameter_count
from engine.settings import EngineSettings
from fim.evaluation.counts import Passage
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages
from fim.evaluation.report import percentile
from fim.evaluation.typing_rhythm import MEDIAN_MS
from fim.snapshot import Source

_KEYS = (2, 8)
"""Of a burst: from, to."""


@dataclass
class Result:
    """What typing came to for one of the two."""

    keys: int = 0
    computed: int = 0
    """Tokens."""
    answers: list[tuple[float, bool, bool]] = field(default_factory=list)
    """Milliseconds from the last key of a burst to its answer, whether that suggests something, and
    whether the model was asked for it."""

    def times(self, *, asked_only: bool) -> list[float]:
        """Return the milliseconds of the answers that suggest something, in order."""
        return sorted(ms for ms, text, asked in self.answers if text and (asked or not asked_only))


class _Typed(Protocol):
    """Something to type at."""

    def open(self, passage: Passage) -> None:
        """Open the file without the passage, the cursor where it is to be."""

    async def type(self, text: str, seconds_per_key: float) -> Answered:
        """Type key by key, and wait for the answer at the last."""

    async def computed(self) -> int:
        """Return how many tokens the model's server has computed since its start."""


class _Ours:
    def __init__(self, editor: LightEditor, metrics: httpx2.AsyncClient) -> None:
        self._editor, self._metrics = editor, metrics

    def open(self, passage: Passage) -> None:
        self._editor.open(passage)

    async def type(self, text: str, seconds_per_key: float) -> Answered:
        return await self._editor.type(text, [seconds_per_key] * len(text))

    async def computed(self) -> int:
        told = (await self._metrics.get("/metrics")).text
        found = re.search(r"^starcoder_computed_ids (\d+)", told, re.MULTILINE)
        return int(found[1]) if found else 0


class _Theirs:
    def __init__(self, editor: LlamaEditor) -> None:
        self._editor = editor

    def open(self, passage: Passage) -> None:
        self._editor.open(passage.initial_text, passage.start)

    async def type(self, text: str, seconds_per_key: float) -> Answered:
        ghost = await self._editor.type(text, seconds_per_key)
        return Answered(ghost.milliseconds, ghost.source, bool(ghost.text))

    async def computed(self) -> int:
        return await self._editor.computed()


async def _passage(at: _Typed, passage: Passage, result: Result, seed: int) -> None:
    """Type a passage; the same seed gives the same bursts."""
    rng, before = random.Random(seed), await at.computed()
    left = passage.file.text[passage.start : passage.end].rstrip("\n")
    at.open(passage)
    while left:
        burst = left[: rng.randint(*_KEYS)]
        left = left[len(burst) :]
        one = await at.type(burst, MEDIAN_MS / 1000)
        result.keys += len(burst)
        result.answers.append((one.milliseconds, one.suggests, one.source == Source.MODEL))
        await asyncio.sleep(0.1)
    result.computed += await at.computed() - before


async def measure(
    chosen: Sequence[Passage],
    model: str,
    dtype: str,
    peers: dict[str, _Peer],
    prompt: int,
    debounce_ms: int,
) -> dict[str, Result]:
    """Type every passage at each, by turns."""
    settings = {
        "model": model,
        "dtype": dtype,
        "eagerness": "eager",
        "statistics": False,
        "respectGitignore": False,
        "maxPromptTokens": prompt,
        "debounceMs": debounce_ms,
        "maxNewTokens": 128,
    }
    engine_settings = EngineSettings(model=model, dtype=dtype)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        editor = await stack.enter_async_context(light_editor(settings))
        await editor.ready()
        typed: dict[str, _Typed] = {"ours": _Ours(editor, await _metrics(stack, engine_settings))}
        for name, peer in peers.items():
            http = await stack.enter_async_context(peer.serve())
            typed[name] = _Theirs(LlamaEditor(http, debounce_ms / 1000))
        results = {name: Result() for name in typed}
        for number, passage in enumerate(chosen):
            for name, at in typed.items():
                warm_up = Result()
                await _passage(at, passage, results[name] if number else warm_up, number)
        health = await ManagedEngine(engine_settings).health()
    if health.pid is not None:
        psutil.Process(health.pid).terminate()
    return results


async def _metrics(stack: AsyncExitStack, settings: EngineSettings) -> httpx2.AsyncClient:
    endpoint = Meeting.of(settings).endpoint()
    assert endpoint is not None
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    uds = None if endpoint.uds is None else str(endpoint.uds)
    transport = httpx2.AsyncHTTPTransport(uds=uds)
    client = httpx2.AsyncClient(base_url=endpoint.url, headers=headers, transport=transport)
    return await stack.enter_async_context(client)


@dataclass(frozen=True, slots=True)
class _Peer:
    """llama.cpp's server with one way to order the prompt."""

    program: Path
    file: Path
    context: int
    batch: int
    threads: int
    suffix_first: bool

    def serve(self) -> Any:
        return llama_server(
            self.program,
            self.file,
            context=self.context,
            batch=self.batch,
            threads=self.threads,
            suffix_first=self.suffix_first,
        )


def main(
    folder: Annotated[Path, typer.Argument(help="Source files to type passages of.")],
    server: Annotated[
        Path, typer.Option(envvar="STARCODER_LLAMA_SERVER", help="llama.cpp's llama-server.")
    ],
    llama: PeerOption = None,
    shape: ShapeOption = None,
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="Ours, as the setting.")] = "auto",
    kind: Annotated[str, typer.Option(help="llama.cpp's: bf16, q8_0 or q4_0.")] = "bf16",
    files: Annotated[int, typer.Option(min=2, help="Passages; the first warms up.")] = 13,
    lines: Annotated[int, typer.Option(min=1, help="Of each.")] = 4,
    prompt: Annotated[int, typer.Option(help="Longest prompt, in tokens.")] = 768,
    debounce_ms: Annotated[int, typer.Option(help="Delay after a key, of both.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Print times and tokens computed; `psm` and `spm` are llama.cpp's prompts."""
    if llama is None:
        raise typer.BadParameter("name the Python that converts weights by --llama")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = f"{scratch}/run"
        path = str(random_checkpoint(shape, Path(scratch))) if shape else model
        config = json.loads((folder_of(path) / "config.json").read_text(encoding="utf-8"))
        file = Path(scratch) / "peer.gguf"
        script = Path(__file__).with_name("llama_peer.py")
        subprocess.run([llama, "-P", script, "convert", folder_of(path), kind, file], check=True)
        threads = threads_for(parameter_count(config))
        context = min(int(config["n_positions"]), 2 * prompt)
        peers = {
            name: _Peer(server, file, context, prompt, threads, suffix_first)
            for name, suffix_first in (("psm", False), ("spm", True))
        }
        chosen = passages(source_files(folder), files, lines, 0)
        results = asyncio.run(measure(chosen, path, dtype, peers, prompt, debounce_ms))
    _report(f"{shape or model}: ours in {dtype}, llama.cpp in {kind}", results, json_file)


def _report(title: str, results: dict[str, Result], json_file: Path | None) -> None:
    table = Table(title=title)
    others = [name for name in results if name != "ours"]
    for column in ("ms to a suggestion", "ours", *others, *(f"ours ÷ {name}" for name in others)):
        table.add_column(column, justify="right")
    rows: dict[str, dict[str, float]] = {}
    for name, result in results.items():
        for label, asked_only in (("any", False), ("model asked", True)):
            ordered = result.times(asked_only=asked_only) or [0.0]
            rows.setdefault(f"{label}, p50", {})[name] = percentile(ordered, 0.5)
            rows.setdefault(f"{label}, p95", {})[name] = percentile(ordered, 0.95)
        rows.setdefault("tokens a key", {})[name] = result.computed / result.keys
        rows.setdefault("answers", {})[name] = len(result.answers)
        rows.setdefault("suggestions", {})[name] = len(result.times(asked_only=False))
        rows.setdefault("of the model", {})[name] = len(result.times(asked_only=True))
    for label, values in rows.items():
        ratios = [f"{values['ours'] / values[name]:.2f}" if values[name] else "" for name in others]
        table.add_row(label, *(f"{value:.1f}" for value in values.values()), *ratios)
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept = {name: asdict(result) for name, result in results.items()}
        json_file.write_text(json.dumps({"title": title, "machine": machine(), "results": kept}))


if __name__ == "__main__":
    typer.run(main)
