"""Command-line options of `python -m training`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_HUMAN_EVAL = "HumanEval-SingleLineInfilling.jsonl.gz"

DEFAULT_FOLDER = Path("runs/demo")
DEFAULT_PROCESSES = os.cpu_count() or 1
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
Steps = Annotated[int | None, typer.Option(help="Optimiser steps; default: the recipe's.", min=1)]
Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.05,
        help="Minutes of the run instead of steps, from the start of the process to its end.",
    ),
]
Corpus = Annotated[
    Path | None,
    typer.Option("--pack", help="Folder with the corpus and tokenizer; default: --folder."),
]
Width = Annotated[int, typer.Option(min=64, help="Width of the model, a multiple of 64.")]
Layers = Annotated[int, typer.Option(min=1, help="Layers of the model.")]
RowsPerStep = Annotated[int, typer.Option(min=1, help="Sequences in an optimiser step.")]
RowsPerBatch = Annotated[
    int | None, typer.Option(min=1, help="Maximum sequences in a forward pass, to save memory.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that make sequences; default: the cores minus one."),
]
MuonRate = Annotated[float, typer.Option("--muon", help="Peak learning rate of Muon.")]
AdamRate = Annotated[float, typer.Option("--adam", help="Peak learning rate of AdamW.")]
MuonRates = Annotated[
    list[float] | None,
    typer.Option("--muon", help="Peak learning rate of Muon; can be given several times."),
]
Bfloat16 = Annotated[
    bool,
    typer.Option(
        "--bfloat16", help="Compute in bfloat16: faster on processors with such instructions."
    ),
]
RunSeconds = Annotated[float, typer.Option(min=1, help="Seconds of each run.")]
Out = Annotated[Path, typer.Option(help="Folder for the parts of the weights and the reports.")]
CheckpointSeconds = Annotated[float, typer.Option(help="Seconds between checkpoints.", min=1)]
Evaluated = Annotated[
    int, typer.Option("--evaluate", min=0, help="Lines to complete at the end; 0: no evaluation.")
]
Processes = Annotated[int, typer.Option(help="Processes that read and filter files.", min=1)]
Count = Annotated[int, typer.Option(help="Lines to complete.", min=8)]
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
Target = Annotated[Path | None, typer.Option(help="Target folder; default: engine/embedded.")]
HumanEval = Annotated[
    Path | None, typer.Option(help=f"{_HUMAN_EVAL}; without it HumanEval is not measured.")
]
Checkpoints = Annotated[list[Path], typer.Argument(help="Copies of checkpoint.pt.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", help="Width and layers, as in 512x8; can be given several times."),
]
RowCounts = Annotated[
    list[int] | None,
    typer.Option("--rows-per-step", min=1, help="Sequences in a step; can be given several times."),
]
Eager = Annotated[bool, typer.Option("--eager", help="Measure also without compilation.")]
NumSteps = Annotated[int, typer.Option("--steps", min=5, help="Measured steps.")]
Seconds = Annotated[float, typer.Option(help="Maximum seconds of the measured steps.")]
Parts = Annotated[Path, typer.Argument(help="Folder with the files that `gpu-run` wrote.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]


def parse_shape(text: str) -> tuple[int, int]:
    """Return the width and the number of layers of a shape such as 512x8."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise typer.BadParameter(f"{text} is not a shape. Write width and layers, as in 512x8.")
    return int(parts[0]), int(parts[1])


Initial = Annotated[
    Path | None,
    typer.Option("--initial", help="Checkpoint of another run, whose weights are the start."),
]
SampleTarget = Annotated[Path, typer.Argument(help="Folder for the sample.")]
Characters = Annotated[int, typer.Option(min=1, help="Characters of the sample.")]
PythonShare = Annotated[float, typer.Option(min=0, max=1, help="Share of Python in the sample.")]
Remarks = Annotated[
    Path | None,
    typer.Option("--remarks", help="Markdown file about the run, for the model card."),
]
