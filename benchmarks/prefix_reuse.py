"""Time to the first token of a prompt that is known but for its end, in decoding steps.

Somebody typed a few characters: all but the last few ids of the prompt were computed a moment ago.
The whole engine answers, pool and step loop included. What it would take without reuse is measured
beside it, and a decoding step in the same answers.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import (
    JsonOption,
    ModelOption,
    RoundsOption,
    ShapeOption,
    machine,
    random_checkpoint,
)
from engine.api import GenerationRequest
from engine.decoding.drafter import Drafter
from engine.local import LocalEngine
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward
from engine.settings import Dtype, EngineSettings

_NEW_TOKENS = 17


@dataclass(frozen=True, slots=True)
class Run:
    """One prompt, in milliseconds."""

    cold: float
    """To the first token where nothing is known."""
    reused: float
    """To the first token where all but the end is."""
    step: float
    """A token after the first."""
    known: int
    """Ids that were reused."""


async def _answer(engine: LocalEngine, prompt: tuple[int, ...]) -> tuple[float, float, int]:
    """Return the milliseconds to the first token and of each after, and the ids reused."""
    started, usage = time.perf_counter(), None
    async for chunk in engine.stream(GenerationRequest(prompt, _NEW_TOKENS)):
        usage = chunk.usage
    assert usage is not None
    # By what the engine says of the rest: ids without text, as of random weights, bring no chunk.
    first = (time.perf_counter() - started) * 1000 - usage.decode_ms
    return first, usage.decode_ms / max(1, usage.completion_tokens - 1), usage.reused_tokens


def _wait_for_graphs(forward: Forward) -> None:
    """They are recorded while nobody asks, in the engine's thread."""
    graphs = forward.graphs if isinstance(forward, LeanForward) else None
    while graphs is not None and graphs.num_unrecorded:
        time.sleep(0.1)


async def measure(settings: EngineSettings, length: int, new: int, rounds: int) -> list[Run]:
    """Return the runs, the first of which, a warm-up, is left out."""
    engine, rng, runs = LocalEngine(settings), random.Random(0), []
    size = (await engine.tokenizer()).vocab_size
    await asyncio.to_thread(_wait_for_graphs, (await engine.model()).forward)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(30, size) for _ in range(count))

    for number in range(rounds + 1):
        prompt = ids(length)
        cold, _, _ = await _answer(engine, prompt)
        reused, step, known = await _answer(engine, (*prompt[:-new], *ids(new)))
        if number:
            runs.append(Run(cold, reused, step, known))
    await engine.aclose()
    return runs


def main(
    shape: ShapeOption = None,
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="As the setting.")] = "auto",
    length: Annotated[int, typer.Option(min=2, help="Ids of the prompt.")] = 1500,
    new: Annotated[int, typer.Option(min=1, help="Of those, the last that are new.")] = 10,
    rounds: RoundsOption = 7,
    json_file: JsonOption = None,
) -> None:
    """Print medians, and how many decoding steps the first token takes."""
    Drafter.propose = lambda *_: ()  # type: ignore[method-assign] # a step is to bring one token
    with tempfile.TemporaryDirectory() as folder:
        path = str(random_checkpoint(shape, Path(folder))) if shape else model
        settings = EngineSettings(model=path, dtype=cast(Dtype, dtype))
        runs = asyncio.run(measure(settings, length, new, rounds))
    cold, reused, step = (
        statistics.median(getattr(run, name) for run in runs) for name in ("cold", "reused", "step")
    )
    known = min(run.known for run in runs)
    table = Table(title=f"{shape or model}, {dtype}: {length} ids, at least {known} of them known")
    for column in ("", "ms", "decoding steps"):
        table.add_column(column, justify="right")
    for name, took in (
        ("first token, nothing known", cold),
        ("first token, reused", reused),
        ("a decoding step", step),
    ):
        table.add_row(name, f"{took:.2f}", f"{took / step:.2f}")
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept = {"machine": machine(), "length": length, "runs": [asdict(run) for run in runs]}
        json_file.write_text(json.dumps(kept))


if __name__ == "__main__":
    typer.run(main)
