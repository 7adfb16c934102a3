"""Command-line options of `python -m training`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_HUMAN_EVAL = "HumanEval-SingleLineInfilling.jsonl.gz"

DEFAULT_FOLDER = Path("runs/demo")
DEFAULT_WORKERS = os.cpu_count() or 1
DEFAULT_THREADS = max(1, (os.cpu_count() or 2) - 1)

Folder = Annotated[Path, typer.Option(help="Folder for all files of a run.")]
Seed = Annotated[int, typer.Option(help="Seed of the sampling or of the initial weights.")]
FimRate = Annotated[
    float | None,
    typer.Option(help="Share of pieces with a hole; replaces the recipe's.", min=0, max=1),
]
Length = Annotated[
    int, typer.Option(help="Tokens of a training sequence and of the context window.")
]
VocabSize = Annotated[int, typer.Option(help="Ids of the tokenizer, including special tokens.")]
Steps = Annotated[int, typer.Option(help="Optimiser steps of 8 sequences.", min=1)]
Count = Annotated[int, typer.Option(help="Lines to complete.", min=8)]
Workers = Annotated[int, typer.Option(help="Processes that read and filter the files.", min=1)]
Threads = Annotated[int, typer.Option(help="CPU threads.", min=1)]
Benchmarks = Annotated[
    list[Path] | None,
    typer.Option(
        "--benchmark",
        help="JSON lines in HumanEval's format: documents that contain its texts are dropped.",
    ),
]
Histories = Annotated[
    list[Path] | None,
    typer.Option("--history", help="Git repository with commits to learn; default: this one."),
]
Download = Annotated[
    bool, typer.Option(help="Download the packages of the recipe; else use those on this machine.")
]
Budgets = Annotated[
    list[int] | None,
    typer.Option("--budget", min=1, help="Tokens of a run; can be given several times."),
]
Sizes = Annotated[list[int] | None, typer.Option("--size", min=300, help="Ids of a tokenizer.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Do not use a GPU.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a model that earlier phases made: only the last phase is run then."
    ),
]
Target = Annotated[Path | None, typer.Option(help="Target folder; default: engine/embedded.")]
HumanEval = Annotated[
    Path | None, typer.Option(help=f"{_HUMAN_EVAL}; without it HumanEval is not measured.")
]
Checkpoints = Annotated[list[Path], typer.Argument(help="Copies of checkpoint.pt.")]
