"""Milliseconds per decoded token while other programs want all cores: ours and llama.cpp.

Three times as many busy processes as cores run during the search for llama.cpp's best options and
during all runs, as a compiler would.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from benchmarks.common import JsonOption, ModelOption, PeerOption, RoundsOption, ShapeOption
from benchmarks.peers.checkpoint import BenchOption, DtypesOption, compare_checkpoint
from benchmarks.peers.comparison import decode_task


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that compute without a pause until the `with` block ends."""
    command = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["int8", "int4"],  # noqa: B006
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 128,
    new: Annotated[int, typer.Option(min=2, help="Number of tokens to generate.")] = 24,
    per_core: Annotated[int, typer.Option(min=1, help="Busy processes per core.")] = 3,
    rounds: RoundsOption = 7,
    llama: PeerOption = None,
    bench: BenchOption = None,
    json_file: JsonOption = None,
) -> None:
    """Compare the time per decoded token on a busy machine."""
    with busy_processes(per_core * (os.cpu_count() or 1)):
        compare_checkpoint(
            decode_task(prompt, new, on_busy_machine=True),
            model=model,
            shape=shape,
            dtypes=dtype,
            rounds=rounds,
            llama=llama,
            bench=bench,
            with_generate=False,
            json_file=json_file,
        )


if __name__ == "__main__":
    typer.run(main)
