"""Milliseconds from a prompt to its first token: ours in each number format, and llama.cpp.

As in `benchmarks.decode`, all have the same weights, run by turns, and reuse nothing.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import (
    JsonOption,
    ModelOption,
    PeerOption,
    RoundsOption,
    ShapeOption,
    ThreadsOption,
    by_turns,
    random_checkpoint,
    report,
)
from benchmarks.decode import DtypesOption, contenders

import torch  # isort: skip


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 1500,
    rounds: RoundsOption = 5,
    threads: ThreadsOption = None,
    llama: PeerOption = None,
    with_generate: Annotated[
        bool, typer.Option("--generate", help="Also measure transformers.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Compare the time to the first token."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        path = str(random_checkpoint(shape, scratch)) if shape else model
        all_contenders, vocab_size = contenders(
            path, dtype, llama, scratch, stack, with_generate=with_generate, threads=threads
        )
        ids = tuple(torch.randint(19, vocab_size, (prompt,)).tolist())
        runs = by_turns(all_contenders, ids, 1, rounds)
    title = f"{shape or model}: prompt of {prompt} tokens, {rounds} rounds"
    report(title, runs, lambda timing: timing.first, json_file)


if __name__ == "__main__":
    typer.run(main)
