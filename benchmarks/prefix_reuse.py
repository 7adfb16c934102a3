"""Time to the first token, in decoding steps, if all but the end of the prompt is in the cache.

A user typed a few characters, so all but the last few tokens of the prompt were computed a moment
ago. The whole engine answers, with its prefix cache and step loop. The same run also measures the
time without a cached prefix, and the time of a decoding step.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from benchmarks.stepped_scheduler import finish_preparing
from engine.api import GenerationRequest
from engine.decoding.drafter import Drafter
from engine.local import LocalEngine
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward
from engine.settings import Dtype, EngineSettings

_NEW_TOKENS = 17


@dataclass(frozen=True, slots=True)
class Run:
    """Times of one prompt, in milliseconds."""

    cold: float
    """Milliseconds to the first token without a cached prefix."""
    reused: float
    """Milliseconds to the first token if only the end of the prompt is new."""
    step: float
    """Milliseconds per token after the first."""
    num_reused: int
    """Number of reused tokens."""


@contextmanager
def one_token_per_step() -> Iterator[None]:
    """Propose no draft tokens while the block runs."""
    original = Drafter.propose
    Drafter.propose = lambda *_: ()  # type: ignore[method-assign]
    try:
        yield
    finally:
        Drafter.propose = original  # type: ignore[method-assign]


async def _generate(engine: LocalEngine, prompt: tuple[int, ...]) -> tuple[float, float, int]:
    """Return the ms to the first token, the ms per later token, and the number of reused tokens."""
    started, usage = time.perf_counter(), None
    async for chunk in engine.stream(GenerationRequest(prompt, _NEW_TOKENS)):
        usage = chunk.usage
    assert usage is not None
    # The engine's own time is subtracted, because tokens of random weights may have no text, and
    # then no chunk arrives with the first token.
    first = (time.perf_counter() - started) * 1000 - usage.decode_ms
    return first, usage.decode_ms / max(1, usage.completion_tokens - 1), usage.reused_tokens


def _wait_until_prepared(forward: Forward) -> None:
    """Wait for the kernels, and on a GPU for the engine's thread to record all CUDA graphs."""
    if isinstance(forward, LeanForward) and forward.graphs is not None:
        while forward.graphs.num_unrecorded:
            time.sleep(0.1)
    else:
        finish_preparing(forward)


async def measure(settings: EngineSettings, length: int, new: int, rounds: int) -> list[Run]:
    """Return the runs after a first one that warms up."""
    engine, rng, runs = LocalEngine(settings), random.Random(0), []
    model = await engine.model()
    await asyncio.to_thread(_wait_until_prepared, model.forward)

    def random_ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(30, model.tokenizer.vocab_size) for _ in range(count))

    for number in range(rounds + 1):
        prompt = random_ids(length)
        cold, _, _ = await _generate(engine, prompt)
        reused, step, num_reused = await _generate(engine, (*prompt[:-new], *random_ids(new)))
        if number:
            runs.append(Run(cold, reused, step, num_reused))
    await engine.aclose()
    return runs


def main(
    shape: ShapeOption = None,
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="Number format of the weights.")] = "auto",
    length: Annotated[int, typer.Option(min=2, help="Tokens of the prompt.")] = 1500,
    new: Annotated[int, typer.Option(min=1, help="Tokens at its end that are new.")] = 10,
    rounds: RoundsOption = 7,
    json_file: JsonOption = None,
) -> None:
    """Print medians, and the number of decoding steps to the first token."""
    with tempfile.TemporaryDirectory() as folder, one_token_per_step():
        path = str(random_checkpoint(shape, Path(folder))) if shape else model
        settings = EngineSettings(model=path, dtype=cast(Dtype, dtype))
        runs = asyncio.run(measure(settings, length, new, rounds))
    step = statistics.median(run.step for run in runs)
    num_reused = min(run.num_reused for run in runs)
    title = (
        f"{shape or model}, {dtype}: {length} prompt tokens, at least {num_reused} of them reused"
    )
    table = Table(title=title)
    for column in ("", "ms", "decoding steps"):
        table.add_column(column, justify="right")
    for name, milliseconds in (
        ("first token, nothing cached", statistics.median(run.cold for run in runs)),
        ("first token, prefix reused", statistics.median(run.reused for run in runs)),
        ("a decoding step", step),
    ):
        table.add_row(name, f"{milliseconds:.2f}", f"{milliseconds / step:.2f}")
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        rows = [asdict(run) for run in runs]
        json_file.write_text(json.dumps({"machine": machine(), "length": length, "runs": rows}))


if __name__ == "__main__":
    typer.run(main)
