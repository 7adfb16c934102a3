"""Our engine and llama.cpp with the same real model: ms per token, and ms for a prompt.

llama.cpp runs through llama-cpp-python and, with `--bench`, as its own `llama-bench`, with the
options that are best for each file and task (`benchmarks.peers.comparison`). The 4-bit files are
the one of the wheel (Q4_1, embedding in Q8_0) and the same weights in Q4_0.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import JsonOption, PeerOption, RoundsOption, load_ours, ours
from benchmarks.peers.checkpoint import BenchOption
from benchmarks.peers.comparison import (
    LLAMA_FORMATS,
    LlamaPeer,
    decode_task,
    llama_version,
    measure,
    prefill_task,
    report_results,
    title_of,
)
from benchmarks.peers.llama_contenders import LlamaPrograms
from benchmarks.peers.process import peer_environment
from benchmarks.real_model.perplexity import FolderArgument
from benchmarks.real_model.prompts import held_out_text
from engine.tokenizer import Tokenizer

TASKS = (decode_task(100, 32), prefill_task(1000))


def gguf_files(python: Path, source: Path, dtypes: list[str], scratch: Path) -> dict[str, Path]:
    """Return the GGUF files to compare with, by number format; all but the source are written."""
    files = {}
    for number_format in (peer for dtype in dtypes for peer in LLAMA_FORMATS[dtype]):
        files[number_format] = source
        if number_format != "q4_1":
            files[number_format] = scratch / f"{number_format}.gguf"
            _prepare(python, "variant", source, number_format, files[number_format])
    return files


def _prepare(python: Path, *arguments: str | Path) -> None:
    command = [python, "-P", Path(__file__).with_name("prepare.py"), *arguments]
    subprocess.run(command, check=True, env=peer_environment())


def main(
    folder: FolderArgument,
    gguf: Annotated[Path, typer.Option(help="The GGUF file of the same model, in Q4_1.")],
    llama: PeerOption = None,
    bench: BenchOption = None,
    dtype: Annotated[list[str], typer.Option(help="Number format.")] = [  # noqa: B006
        "bfloat16",
        "int8",
        "int4",
    ],
    rounds: RoundsOption = 7,
    json_file: JsonOption = None,
) -> None:
    """Compare the times of our engine with those of llama.cpp at its best."""
    if llama is None:
        raise typer.BadParameter("Give a Python with llama-cpp-python: --llama PATH.")
    load = os.getloadavg()[0]
    our_contenders = {name: ours(load_ours(folder, name)) for name in dtype}
    programs = LlamaPrograms(llama, bench)
    ids = tuple(Tokenizer.from_file(Path(folder)).encode(held_out_text()))
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        files = gguf_files(llama, gguf, dtype, Path(scratch))
        peers = [
            LlamaPeer(programs, files[number_format], number_format, each)
            for each in dtype
            for number_format in LLAMA_FORMATS[each]
        ]
        for task in TASKS:
            title = title_of(Path(folder).name, task, rounds)
            results[title] = measure(task, our_contenders, peers, ids, rounds)
    report_results(results, {"load before": load, "llama.cpp": llama_version(llama)}, json_file)


if __name__ == "__main__":
    typer.run(main)
