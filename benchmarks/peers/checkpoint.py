"""Peers of a checkpoint in StarCoder's architecture, which is converted to GGUF for llama.cpp."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Contender, folder_of, load_ours, ours, random_checkpoint
from benchmarks.peers.comparison import (
    LLAMA_FORMATS,
    GeneratePeer,
    LlamaPeer,
    Peer,
    Task,
    llama_version,
    measure,
    report_results,
    title_of,
)
from benchmarks.peers.llama_contenders import LlamaPrograms
from benchmarks.peers.process import convert_to_gguf

import torch  # isort: skip

DtypesOption = Annotated[
    list[str],
    typer.Option("--dtype", help="Number format, as in the setting dtype; may be repeated."),
]
BenchOption = Annotated[
    Path | None,
    typer.Option(
        "--bench", envvar="STARCODER_LLAMA_BENCH", help="Path of llama.cpp's `llama-bench`."
    ),
]


def llama_peers(
    programs: LlamaPrograms, model: str, dtypes: Sequence[str], scratch: Path
) -> list[Peer]:
    """Write a checkpoint as GGUF in each comparable number format, and return the peers."""
    peers: list[Peer] = []
    for dtype in dtypes:
        for number_format in LLAMA_FORMATS[dtype]:
            file = scratch / f"{number_format}.gguf"
            convert_to_gguf(programs.python, folder_of(model), number_format, file)
            peers.append(LlamaPeer(programs, file, number_format, dtype))
    return peers


def generate_peers(model: str, dtypes: Sequence[str]) -> list[Peer]:
    """Return the forms of `generate` in the first number format that transformers has, too."""
    plain = next((dtype for dtype in dtypes if dtype.endswith(("32", "16"))), "bfloat16")
    return [GeneratePeer(model, plain, "eager"), GeneratePeer(model, plain, "compiled")]


def compare_checkpoint(
    task: Task,
    *,
    model: str,
    shape: str | None,
    dtypes: Sequence[str],
    rounds: int,
    llama: Path | None,
    bench: Path | None,
    with_generate: bool,
    json_file: Path | None,
) -> None:
    """Compare ours with the peers that are installed, and print and write the results.

    `shape` means random weights of a shape instead of `model`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = str(random_checkpoint(shape, Path(scratch))) if shape else model
        contenders: dict[str, Contender] = {}
        vocab_size = 0
        for dtype in dtypes:
            loaded = load_ours(path, dtype)
            vocab_size = loaded.vocab_size
            contenders[dtype] = ours(loaded)
            if torch.cuda.is_available():
                contenders[f"{dtype}, no graphs"] = ours(loaded, use_graphs=False)
        peers = generate_peers(path, dtypes) if with_generate else []
        facts: dict[str, str] = {}
        if llama is not None:
            peers += llama_peers(LlamaPrograms(llama, bench), path, dtypes, Path(scratch))
            facts["llama.cpp"] = llama_version(llama)
        ids = tuple(torch.randint(19, vocab_size, (task.prompt_tokens,)).tolist())
        result = measure(task, contenders, peers, ids, rounds)
    report_results({title_of(shape or model, task, rounds): result}, facts, json_file)
