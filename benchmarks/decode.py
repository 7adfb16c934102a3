"""Milliseconds per decoded token: ours in each number format, transformers' `generate`, llama.cpp.

On a GPU, ours is measured twice: with CUDA graphs and without. All contenders have the same weights
and prompt. They reuse nothing and draft nothing: the output of random weights cannot be guessed.
"""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.common import JsonOption, ModelOption, PeerOption, RoundsOption, ShapeOption
from benchmarks.peers.checkpoint import BenchOption, DtypesOption, compare_checkpoint
from benchmarks.peers.comparison import decode_task


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 512,
    new: Annotated[int, typer.Option(min=2, help="Number of tokens to generate.")] = 24,
    rounds: RoundsOption = 7,
    llama: PeerOption = None,
    bench: BenchOption = None,
    with_generate: Annotated[
        bool, typer.Option("--generate/--no-generate", help="Also measure transformers.")
    ] = True,
    json_file: JsonOption = None,
) -> None:
    """Compare the time per decoded token."""
    compare_checkpoint(
        decode_task(prompt, new),
        model=model,
        shape=shape,
        dtypes=dtype,
        rounds=rounds,
        llama=llama,
        bench=bench,
        with_generate=with_generate,
        json_file=json_file,
    )


if __name__ == "__main__":
    typer.run(main)
