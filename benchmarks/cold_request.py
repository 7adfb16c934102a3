"""Milliseconds of a cold request for the rest of a line, by the shape of the model.

Cold means: a full prompt, and none of it in the prefix cache. The engine is the product's, with
random weights of each shape. Shapes run by turns, so that other load affects all of them alike. It
helps to choose the shape of the demo model, which must answer within the patience of a typist.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, machine
from benchmarks.prefix_reuse import one_token_per_step
from benchmarks.stepped_scheduler import finish_preparing
from engine.api import GenerationRequest
from engine.loading.on_disk import EMBEDDED_DIR
from engine.local import LocalEngine
from engine.settings import Dtype, EngineSettings
from fim.settings import FimSettings
from training.model import ModelShape, build_model
from training.options import Shapes, parse_shape

import torch  # isort: skip

_DEFAULT_SHAPES = ["320x6", "512x8", "448x10", "576x6", "640x5", "384x12"]


def write_checkpoint(shape: ModelShape, folder: Path) -> None:
    """Write random bfloat16 weights of the demo model's architecture in this shape."""
    build_model(shape).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((EMBEDDED_DIR / name).read_bytes())


async def _request_ms(engine: LocalEngine, prompt: tuple[int, ...], new: int) -> float:
    started, usage = time.perf_counter(), None
    async for chunk in engine.stream(GenerationRequest(prompt, new)):
        usage = chunk.usage
    milliseconds = (time.perf_counter() - started) * 1000
    assert usage is not None
    assert usage.reused_tokens == 0
    assert usage.completion_tokens == new
    return milliseconds


async def measure(
    folders: dict[str, Path], dtype: Dtype, length: int, new: int, rounds: int, threads: int
) -> dict[str, list[float]]:
    """Return the milliseconds of each round by shape; a first round warms up."""
    rng = random.Random(0)
    engines: dict[str, LocalEngine] = {}
    for name, folder in folders.items():
        engines[name] = LocalEngine(EngineSettings(model=str(folder), dtype=dtype))
        model = await engines[name].model()
        await asyncio.to_thread(finish_preparing, model.forward)
    torch.set_num_threads(threads)
    times: dict[str, list[float]] = {name: [] for name in folders}
    for number in range(rounds + 1):
        for name, engine in engines.items():
            prompt = tuple(rng.randrange(30, 8192) for _ in range(length))
            milliseconds = await _request_ms(engine, prompt, new)
            if number:
                times[name].append(milliseconds)
    for engine in engines.values():
        await engine.aclose()
    return times


def main(
    shape: Shapes = None,
    dtype: Annotated[str, typer.Option(help="Number format of the weights.")] = "int8",
    vocab_size: Annotated[int, typer.Option(min=8192, help="Token ids.")] = 12292,
    positions: Annotated[int, typer.Option(min=64, help="Tokens of the context window.")] = 1024,
    new: Annotated[int, typer.Option(min=1, help="Tokens of the answer.")] = 12,
    rounds: Annotated[int, typer.Option(min=3, help="Requests per shape.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    json_file: JsonOption = None,
) -> None:
    """Print minimum, median and 95th percentile in milliseconds for each shape."""
    length = positions - FimSettings().max_new_tokens
    with tempfile.TemporaryDirectory() as scratch, one_token_per_step():
        folders, weights = {}, {}
        for text in shape or _DEFAULT_SHAPES:
            width, layers = parse_shape(text)
            folders[text] = Path(scratch) / text
            write_checkpoint(ModelShape(width, layers, positions, vocab_size), folders[text])
            weights[text] = (folders[text] / "model.safetensors").stat().st_size / 2e6
        times = asyncio.run(measure(folders, cast(Dtype, dtype), length, new, rounds, threads))
    table = Table(title=f"cold request, {dtype}: prompt of {length} tokens, answer of {new}")
    for column in ("shape", "million weights", "fastest", "p50", "p95"):
        table.add_column(column, justify="right")
    for name, values in times.items():
        order = sorted(values)
        p95 = order[min(len(order) - 1, round(0.95 * (len(order) - 1)))]
        table.add_row(
            name,
            f"{weights[name]:.1f}",
            f"{order[0]:.1f}",
            f"{statistics.median(order):.1f}",
            f"{p95:.1f}",
        )
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": machine(), "length": length, "ms": times}))


if __name__ == "__main__":
    typer.run(main)
