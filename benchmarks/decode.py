"""Milliseconds per decoded token: ours in each number format, transformers' `generate`, llama.cpp.

On a GPU, ours is measured twice: with CUDA graphs and without. All contenders have the same weights
and prompt, and take turns, so that other load affects all of them alike. They reuse nothing and
draft nothing: the output of random weights cannot be guessed.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import (
    Contender,
    JsonOption,
    ModelOption,
    PeerOption,
    RoundsOption,
    ShapeOption,
    ThreadsOption,
    by_turns,
    load_ours,
    ours,
    random_checkpoint,
    report,
)
from benchmarks.peer_process import LlamaCpp, TransformersGenerate

import torch  # isort: skip

LLAMA_FORMATS = {"float32": "f32", "bfloat16": "bf16", "int8": "q8_0", "int4": "q4_0"}
"""llama.cpp's number format with the same number of bits."""


def contenders(
    model: str,
    dtypes: list[str],
    llama: Path | None,
    scratch: Path,
    stack: ExitStack,
    *,
    with_generate: bool,
    threads: int | None,
    without_graphs: bool = False,
) -> tuple[dict[str, Contender], int]:
    """Return all contenders by name, and the size of the vocabulary."""
    by_name: dict[str, Contender] = {}
    vocab_size = 0
    for dtype in dtypes:
        loaded = load_ours(model, dtype)
        vocab_size = loaded.vocab_size
        by_name[f"ours {dtype}"] = ours(loaded)
        if without_graphs:
            by_name[f"ours {dtype}, no graphs"] = ours(loaded, use_graphs=False)
    if threads:
        torch.set_num_threads(threads)
    if with_generate:
        plain = next((dtype for dtype in dtypes if dtype.endswith(("32", "16"))), "bfloat16")
        transformers = TransformersGenerate(model, plain)
        stack.callback(transformers.close)
        by_name[f"generate {plain}"] = transformers
    for dtype in dtypes if llama else []:
        assert llama is not None
        peer = LlamaCpp(llama, model, LLAMA_FORMATS[dtype], scratch)
        stack.callback(peer.close)
        by_name[f"llama.cpp {LLAMA_FORMATS[dtype]}"] = peer
    return by_name, vocab_size


DtypesOption = Annotated[
    list[str],
    typer.Option("--dtype", help="Number format, as in the setting dtype; may be repeated."),
]


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 512,
    new: Annotated[int, typer.Option(min=2, help="Number of tokens to generate.")] = 24,
    rounds: RoundsOption = 7,
    threads: ThreadsOption = None,
    llama: PeerOption = None,
    json_file: JsonOption = None,
) -> None:
    """Compare the time per decoded token."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        path = str(random_checkpoint(shape, scratch)) if shape else model
        all_contenders, vocab_size = contenders(
            path,
            dtype,
            llama,
            scratch,
            stack,
            with_generate=True,
            threads=threads,
            without_graphs=torch.cuda.is_available(),
        )
        ids = tuple(torch.randint(19, vocab_size, (prompt,)).tolist())
        runs = by_turns(all_contenders, ids, new, rounds)
    title = f"{shape or model}: a token after {prompt}, {rounds} rounds"
    report(title, runs, lambda timing: timing.each, json_file)


if __name__ == "__main__":
    typer.run(main)
