"""Milliseconds from a prompt to its first token: ours in each number format, and its peers.

As in `benchmarks.decode`, all have the same weights, run by turns, and reuse nothing.
"""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.common import JsonOption, ModelOption, PeerOption, RoundsOption, ShapeOption
from benchmarks.peers.checkpoint import BenchOption, DtypesOption, compare_checkpoint
from benchmarks.peers.comparison import prefill_task


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 1500,
    rounds: RoundsOption = 5,
    llama: PeerOption = None,
    bench: BenchOption = None,
    with_generate: Annotated[
        bool, typer.Option("--generate/--no-generate", help="Also measure transformers.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Compare the time to the first token."""
    compare_checkpoint(
        prefill_task(prompt),
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
