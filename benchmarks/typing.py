"""Typing through our whole server, and the same keys through llama.cpp's server, by turns.

Passages of real files are typed in bursts. Each key sends a request and cancels the previous one;
after a burst the typist waits for the answer, and that time counts.

- OurServer is the language server in one process and the engine in another.
- llama.cpp answers `/infill` directly, for one line, without a language server in between. It is
  measured in its default order, prefix before suffix (`psm`), and with `--spm-infill` (`spm`).

Both have the same weights, the same prompt length and the same delay after a key. Neither sends a
request while the typed text matches the suggestion. The simulated editors use almost no processor
time. Computed tokens are those that went through the network: of prompts, of outputs, and drafts.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

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
from benchmarks.light_editor import light_editor
from benchmarks.llama_server import LlamaEditor
from benchmarks.peers.process import convert_to_gguf
from benchmarks.typing_contenders import (
    Contender,
    LlamaServer,
    OurServer,
    PeerServer,
    engine_client,
)
from engine.client.managed import ManagedEngine
from engine.model_config import require_architecture
from engine.network.backend import num_decode_threads
from engine.settings import EngineSettings
from fim.evaluation.counts import Passage
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages
from fim.evaluation.report import percentile
from fim.evaluation.typing_rhythm import MEDIAN_MS
from fim.snapshot import Source

_BURST_KEYS = (2, 8)
"""Minimum and maximum number of keys in a burst."""
_PAUSE_AFTER_BURST_S = 0.1


@dataclass
class Result:
    """Result of typing with one of the contenders."""

    keys: int = 0
    computed: int = 0
    """Computed tokens."""
    answers: list[tuple[float, bool, bool]] = field(default_factory=list)
    """An entry per burst: milliseconds from the last key to the answer, whether the answer has a
    suggestion, and whether the model generated it."""

    def times(self, *, from_model_only: bool) -> list[float]:
        """Return the sorted times of the answers with a suggestion, in milliseconds."""
        return sorted(
            milliseconds
            for milliseconds, has_suggestion, from_model in self.answers
            if has_suggestion and (from_model or not from_model_only)
        )


async def _type_passage(contender: Contender, passage: Passage, result: Result, seed: int) -> None:
    """Type a passage; the same seed gives the same bursts."""
    rng, computed_before = random.Random(seed), await contender.computed_tokens()
    text = passage.file.text[passage.start : passage.end].rstrip("\n")
    contender.open(passage)
    while text:
        burst = text[: rng.randint(*_BURST_KEYS)]
        text = text[len(burst) :]
        answer = await contender.type(burst, MEDIAN_MS / 1000)
        from_model = answer.source == Source.MODEL
        result.keys += len(burst)
        result.answers.append((answer.milliseconds, answer.has_suggestion, from_model))
        await asyncio.sleep(_PAUSE_AFTER_BURST_S)
    result.computed += await contender.computed_tokens() - computed_before


async def measure(
    typed_passages: Sequence[Passage],
    model: str,
    dtype: str,
    peers: dict[str, PeerServer],
    max_prompt: int,
    debounce_ms: int,
) -> dict[str, Result]:
    """Type every passage with each contender, by turns; the first passage warms up."""
    settings = {
        "model": model,
        "dtype": dtype,
        "eagerness": "eager",
        "statistics": False,
        "respectGitignore": False,
        "maxPromptTokens": max_prompt,
        "debounceMs": debounce_ms,
        "maxNewTokens": 128,
    }
    engine_settings = EngineSettings(model=model, dtype=dtype)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        editor = await stack.enter_async_context(light_editor(settings))
        await editor.wait_until_ready()
        metrics = await stack.enter_async_context(engine_client(engine_settings))
        contenders: dict[str, Contender] = {"ours": OurServer(editor, metrics)}
        for name, peer in peers.items():
            http = await stack.enter_async_context(peer.serve())
            contenders[name] = LlamaServer(LlamaEditor(http, debounce_ms / 1000))
        results = {name: Result() for name in contenders}
        for number, passage in enumerate(typed_passages):
            for name, contender in contenders.items():
                result = results[name] if number else Result()
                await _type_passage(contender, passage, result, number)
        health = await ManagedEngine(engine_settings).health()
    if health.pid is not None:
        psutil.Process(health.pid).terminate()
    return results


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the source files.")],
    server: Annotated[
        Path, typer.Option(envvar="STARCODER_LLAMA_SERVER", help="Path of llama-server.")
    ],
    llama: PeerOption = None,
    shape: ShapeOption = None,
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="Number format of our weights.")] = "auto",
    kind: Annotated[
        str, typer.Option(help="llama.cpp's number format: bf16, q8_0 or q4_0.")
    ] = "bf16",
    files: Annotated[int, typer.Option(min=2, help="Passages; the first one warms up.")] = 13,
    lines: Annotated[int, typer.Option(min=1, help="Lines per passage.")] = 4,
    prompt: Annotated[int, typer.Option(help="Maximum prompt length in tokens.")] = 768,
    debounce_ms: Annotated[int, typer.Option(help="Delay after a key, for both.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Compare our server with llama.cpp's: time to a suggestion, and computed tokens."""
    if llama is None:
        raise typer.BadParameter("Give the Python that converts the weights: --llama PATH.")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = f"{scratch}/run"
        path = str(random_checkpoint(shape, Path(scratch))) if shape else model
        file = Path(scratch) / "peer.gguf"
        convert_to_gguf(llama, folder_of(path), kind, file)
        peers = _peer_servers(server, file, folder_of(path), prompt)
        typed_passages = passages(source_files(folder), files, lines, 0)
        results = asyncio.run(measure(typed_passages, path, dtype, peers, prompt, debounce_ms))
    _report(f"{shape or model}: ours in {dtype}, llama.cpp in {kind}", results, json_file)


def _peer_servers(
    program: Path, file: Path, checkpoint: Path, max_prompt: int
) -> dict[str, PeerServer]:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    architecture = require_architecture(config)
    threads = num_decode_threads(architecture.num_parameters)
    context = min(architecture.positions, 2 * max_prompt)
    return {
        name: PeerServer(program, file, context, max_prompt, threads, suffix_first)
        for name, suffix_first in (("psm", False), ("spm", True))
    }


def _report(title: str, results: dict[str, Result], json_file: Path | None) -> None:
    table = Table(title=title)
    peers = [name for name in results if name != "ours"]
    for column in ("ms to a suggestion", "ours", *peers, *(f"ours ÷ {name}" for name in peers)):
        table.add_column(column, justify="right")
    for label, values in _rows(results).items():
        ratios = [f"{values['ours'] / values[name]:.2f}" if values[name] else "" for name in peers]
        table.add_row(label, *(f"{value:.1f}" for value in values.values()), *ratios)
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        rows = {name: asdict(result) for name, result in results.items()}
        json_file.write_text(json.dumps({"title": title, "machine": machine(), "results": rows}))


def _rows(results: dict[str, Result]) -> dict[str, dict[str, float]]:
    """Return the value of each row of the table for each contender."""
    rows: dict[str, dict[str, float]] = {}
    for name, result in results.items():
        for label, from_model_only in (("any", False), ("from the model", True)):
            times = result.times(from_model_only=from_model_only) or [0.0]
            rows.setdefault(f"{label}, p50", {})[name] = percentile(times, 0.5)
            rows.setdefault(f"{label}, p95", {})[name] = percentile(times, 0.95)
        rows.setdefault("computed tokens per key", {})[name] = result.computed / result.keys
        rows.setdefault("answers", {})[name] = len(result.answers)
        num_suggestions = len(result.times(from_model_only=False))
        rows.setdefault("suggestions", {})[name] = num_suggestions
        num_from_model = len(result.times(from_model_only=True))
        rows.setdefault("suggestions from the model", {})[name] = num_from_model
    return rows


if __name__ == "__main__":
    typer.run(main)
