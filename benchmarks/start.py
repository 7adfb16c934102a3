"""From a process's start to its first token, and the most memory that it took: ours beside
transformers, which loads the same weights and writes one token. On a GPU, if there is one.

Every run is a process of its own, by turns; the files are in the system's cache, as they are when a
model is used every day. The kernels are compiled already, as after a first run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import (
    JsonOption,
    ModelOption,
    RoundsOption,
    ShapeOption,
    folder_of,
    machine,
    random_checkpoint,
)
from benchmarks.decode import DtypesOption

_OURS = """
from engine.machine import configure_threads
configure_threads()
import torch
from engine.loading.load import load
from engine.settings import EngineSettings
held = load(EngineSettings(model={path!r}, dtype={dtype!r}), lambda *_: None)
with torch.inference_mode():
    int(held.decoder.forward(torch.arange(20, 40), held.new_cache())[-1].argmax())
"""
_TRANSFORMERS = """
import torch
from transformers import AutoModelForCausalLM
device = "cuda" if torch.cuda.is_available() else "cpu"
held = AutoModelForCausalLM.from_pretrained({path!r}, dtype=torch.{dtype}).eval().to(device)
ids = torch.arange(20, 40, device=device)[None]
held.generate(ids, max_new_tokens=1, pad_token_id=0).cpu()
"""


_TAIL = """
import resource
on_gpu = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
print(on_gpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _run(code: str) -> tuple[float, float, float]:
    """Return seconds and gigabytes, of memory and a GPU's, of a process that runs code."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + _TAIL], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    on_gpu, memory = map(int, done.stdout.split()[-2:])
    return seconds, memory * unit / 1e9, on_gpu / 1e9


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    rounds: RoundsOption = 3,
    json_file: JsonOption = None,
) -> None:
    """Start, write a token, end."""
    with tempfile.TemporaryDirectory() as scratch:
        path = str(random_checkpoint(shape, Path(scratch)) if shape else folder_of(model))
        codes = {f"ours {one}": _OURS.format(path=path, dtype=one) for one in dtype}
        codes["transformers"] = _TRANSFORMERS.format(path=path, dtype="bfloat16")
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in codes}
        for number in range(rounds + 1):
            for name, code in codes.items():
                found = _run(code)
                if number:
                    runs[name].append(found)
    table = Table(title=f"{shape or model}: from nothing to a token, {rounds} rounds")
    for column in ("", "s", "÷ transformers", "GB at most", "on the GPU"):
        table.add_column(column, justify="right")
    theirs = statistics.median(one[0] for one in runs["transformers"])
    for name, of_name in runs.items():
        seconds, memory, on_gpu = (statistics.median(one[at] for one in of_name) for at in range(3))
        table.add_row(
            name, f"{seconds:.2f}", f"{seconds / theirs:.2f}", f"{memory:.2f}", f"{on_gpu:.2f}"
        )
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        json_file.write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
