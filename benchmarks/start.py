"""Time from the start of a process to its first token, and peak memory: ours and transformers.

transformers loads the same weights and generates one token. The benchmark uses a GPU if there is
one. Every run is a process of its own, by turns, with the environment of this process but without
our thread settings (`benchmarks.peers.process`); ours makes these settings itself. The files are in
the system's cache and the kernels are compiled, as on a machine that uses the model every day.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
from benchmarks.peers.checkpoint import DtypesOption
from benchmarks.peers.process import peer_environment

_OURS = """
from engine.machine import configure_threads
configure_threads()
import torch
from engine.loading.load import load
from engine.kv_cache.cache import KVCache
from engine.network.batch import BatchEntry
from engine.settings import EngineSettings
model = load(EngineSettings(model={path!r}, dtype={dtype!r}), lambda *_: None).model
cache = KVCache(model.cache_shape, slot=model.arena.take() if model.arena else None)
with torch.inference_mode():
    int(model.forward([BatchEntry(tuple(range(20, 40)), cache)])[0][-1].argmax())
"""
_TRANSFORMERS = """
import torch
from transformers import AutoModelForCausalLM
device = "cuda" if torch.cuda.is_available() else "cpu"
model = AutoModelForCausalLM.from_pretrained({path!r}, dtype=torch.{dtype}).eval().to(device)
ids = torch.arange(20, 40, device=device)[None]
model.generate(ids, max_new_tokens=1, pad_token_id=0).cpu()
"""


_PRINT_MEMORY = """
import resource
gpu_bytes = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
print(gpu_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

_Run = tuple[float, float, float]
"""Seconds, peak gigabytes of memory and peak gigabytes of GPU memory of one process."""


def programs(path: str, dtypes: Sequence[str]) -> dict[str, str]:
    """Return the programs to compare, by name."""
    by_name = {f"ours {dtype}": _OURS.format(path=path, dtype=dtype) for dtype in dtypes}
    return {**by_name, "transformers": _TRANSFORMERS.format(path=path, dtype="bfloat16")}


def run_program(code: str) -> _Run:
    """Run code in a process of its own, and return its time and memory."""
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", code + _PRINT_MEMORY],
        capture_output=True,
        text=True,
        check=True,
        env=peer_environment(),
    )
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    gpu_bytes, max_rss = map(int, process.stdout.split()[-2:])
    return seconds, max_rss * unit / 1e9, gpu_bytes / 1e9


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    rounds: RoundsOption = 3,
    json_file: JsonOption = None,
) -> None:
    """Compare the time to start and generate one token, and the peak memory."""
    with tempfile.TemporaryDirectory() as scratch:
        path = str(random_checkpoint(shape, Path(scratch)) if shape else folder_of(model))
        by_name = programs(str(path), dtype)
        runs: dict[str, list[_Run]] = {name: [] for name in by_name}
        for number in range(rounds + 1):
            for name, code in by_name.items():
                run = run_program(code)
                if number:  # the first round warms up
                    runs[name].append(run)
    Console().print(_table(f"{shape or model}: from start to first token, {rounds} rounds", runs))
    Console().print(machine())
    if json_file is not None:
        json_file.write_text(json.dumps(runs, indent=1), encoding="utf-8")


def _table(title: str, runs: dict[str, list[_Run]]) -> Table:
    table = Table(title=title)
    for column in ("", "s", "÷ transformers", "peak GB", "peak GB on the GPU"):
        table.add_column(column, justify="right")
    transformers_s = statistics.median(seconds for seconds, _, _ in runs["transformers"])
    for name, measured in runs.items():
        seconds, memory, gpu_memory = map(statistics.median, zip(*measured, strict=True))
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{seconds / transformers_s:.2f}",
            f"{memory:.2f}",
            f"{gpu_memory:.2f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
