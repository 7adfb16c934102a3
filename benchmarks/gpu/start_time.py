"""From the start of a process to its first token: ours and transformers, demo model and 164M."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import random_checkpoint
from benchmarks.gpu.results import record
from benchmarks.start import programs, run_program
from engine.loading.on_disk import EMBEDDED_DIR


def measure(name: str, path: Path, dtypes: Sequence[str], rounds: int) -> None:
    """Record seconds and memory of each program, in separate processes by turns."""
    for program, code in programs(str(path), dtypes).items():
        runs = [run_program(code) for _ in range(rounds + 1)][1:]
        seconds, memory, gpu_memory = map(statistics.median, zip(*runs, strict=True))
        record(
            "start",
            model=name,
            program=program,
            s=round(seconds, 2),
            gb=round(memory, 2),
            gpu_gb=round(gpu_memory, 2),
        )


def main(
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Only the demo model.")] = False,
) -> None:
    """Measure the demo model, and on a GPU also 164M."""
    started = time.perf_counter()
    measure("demo", EMBEDDED_DIR, ("bfloat16",), 1)
    if not rehearse:
        with tempfile.TemporaryDirectory() as folder:
            measure("164m", random_checkpoint("164m", Path(folder)), ("bfloat16", "int8"), 1)
    record("start step", s=round(time.perf_counter() - started, 1))


if __name__ == "__main__":
    typer.run(main)
