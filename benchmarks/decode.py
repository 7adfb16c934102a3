"""Milliseconds a decoded token: ours in each precision, transformers' `generate`, llama.cpp.

On a GPU ours is there twice, with CUDA graphs and without.

All run the same weights on the same ids, in turn, so that what else the machine does falls on each;
medians and their ratios are printed. Nothing is reused from run to run, and nothing drafted: random
weights write nothing that could be guessed.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import (
    Contender,
    JsonOption,
    ModelOption,
    PeerOption,
    RoundsOption,
    ShapeOption,
    ThreadsOption,
    Timing,
    by_turns,
    folder_of,
    load_ours,
    ours,
    random_checkpoint,
    report,
    timing,
)
from benchmarks.peer_process import LlamaCpp

import torch  # isort: skip
from transformers import AutoModelForCausalLM  # isort: skip
from transformers.generation.streamers import BaseStreamer  # isort: skip

LLAMA_OF = {"float32": "f32", "bfloat16": "bf16", "int8": "q8_0", "int4": "q4_0"}
"""llama.cpp's format that keeps as many bits."""


class _Ticks(BaseStreamer):  # type: ignore[misc]
    """Notes when `generate` gives out each token."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def put(self, value: Any) -> None:
        self.at.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to do."""


def generate(model: str, dtype: torch.dtype) -> Contender:
    """Return transformers' `generate`, greedy, without an end-of-text id to stop at."""
    held = AutoModelForCausalLM.from_pretrained(folder_of(model), dtype=dtype).eval()
    if torch.cuda.is_available():
        held = held.cuda()

    def run(prompt: tuple[int, ...], count: int) -> Timing:
        ticks = _Ticks()
        started = time.perf_counter()
        held.generate(
            torch.tensor([prompt], device=held.device),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
            streamer=ticks,
        )
        return timing(started, ticks.at[1:])  # the first put is the prompt itself

    return run


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
    """Return all that compete, and the size of the vocabulary."""
    made: dict[str, Contender] = {}
    size = 0
    for dtype in dtypes:
        held = load_ours(model, dtype)
        size = held.vocab_size
        made[f"ours {dtype}"] = ours(held)
        if without_graphs:
            made[f"ours {dtype}, no graphs"] = ours(held, use_graphs=False)
    if threads:
        torch.set_num_threads(threads)
    if with_generate:
        plain = next((one for one in dtypes if one.endswith(("32", "16"))), "bfloat16")
        made[f"generate {plain}"] = generate(model, getattr(torch, plain))
    for dtype in dtypes if llama else []:
        assert llama is not None
        peer = LlamaCpp(llama, model, LLAMA_OF[dtype], scratch)
        stack.callback(peer.close)
        made[f"llama.cpp {LLAMA_OF[dtype]}"] = peer
    return made, size


DtypesOption = Annotated[
    list[str], typer.Option("--dtype", help="As in the setting of that name; may be repeated.")
]


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 512,
    new: Annotated[int, typer.Option(min=2, help="Tokens to write.")] = 24,
    rounds: RoundsOption = 7,
    threads: ThreadsOption = None,
    llama: PeerOption = None,
    json_file: JsonOption = None,
) -> None:
    """Compare decoding."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        path = str(random_checkpoint(shape, scratch)) if shape else model
        made, size = contenders(
            path,
            dtype,
            llama,
            scratch,
            stack,
            with_generate=True,
            threads=threads,
            without_graphs=torch.cuda.is_available(),
        )
        ids = tuple(torch.randint(19, size, (prompt,)).tolist())
        runs = by_turns(made, ids, new, rounds)
    title = f"{shape or model}: a token after {prompt}, {rounds} rounds"
    report(title, runs, lambda one: one.each, json_file)


if __name__ == "__main__":
    typer.run(main)
