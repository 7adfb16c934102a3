"""Our engine and llama.cpp with the same real model: ms per token, and ms for a prompt.

llama.cpp runs through llama-cpp-python and, with `--bench`, as its own `llama-bench`. For each file
the options are searched first: threads, flash attention, batch, mapped file, repacked weights. Then
all contenders take turns. Each of our number formats is compared with the fastest
form of llama.cpp in the formats with as many bits. The 4-bit files are the one of the wheel (Q4_1,
embedding in Q8_0) and the same weights in Q4_0, which has as many bits per weight as our int4.

Each run waits until other programs leave the processor alone (`benchmarks.real_model.quiet`). No
ratio is printed for runs that were disturbed nevertheless.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import (
    Contender,
    JsonOption,
    PeerOption,
    RoundsOption,
    Timing,
    by_turns,
    load_ours,
    machine,
    ours,
)
from benchmarks.peer_process import peer_environment
from benchmarks.real_model.llama_contenders import LlamaPrograms, best_options
from benchmarks.real_model.perplexity import FolderArgument
from benchmarks.real_model.prompts import held_out_text
from benchmarks.real_model.quiet import is_steady, when_quiet
from engine.tokenizer import Tokenizer

PEERS: dict[str, tuple[str, ...]] = {
    "float32": ("f32",),
    "bfloat16": ("bf16", "f16"),
    "int8": ("q8_0",),
    "int4": ("q4_1", "q4_0"),
}
"""llama.cpp's number formats with about as many bits as each of ours."""


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of run, and the part of its timing that counts."""

    name: str
    prompt_tokens: int
    new: int
    part: Callable[[Timing], float]


TASKS = (
    Task("decode, ms per token", 100, 32, lambda timing: timing.each),
    Task("prefill, ms", 1000, 1, lambda timing: timing.first),
)


@dataclass(slots=True)
class Result:
    """All runs of one task, and the options of llama.cpp."""

    runs: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds by contender."""
    options: dict[str, str] = field(default_factory=dict)
    peers: dict[str, list[str]] = field(default_factory=dict)
    """The names of the contenders with which each of ours is compared."""

    def ratio(self, name: str) -> float | None:
        """Return the median of ours relative to the fastest peer.

        It is None for a peer, and NaN if runs of ours or of one of its peers were disturbed.
        """
        peers = self.peers.get(name, [])
        if not peers:
            return None
        if not all(is_steady(self.runs[each]) for each in (name, *peers)):
            return math.nan
        fastest = min(statistics.median(self.runs[peer]) for peer in peers)
        return statistics.median(self.runs[name]) / fastest


def gguf_files(python: Path, source: Path, dtypes: list[str], scratch: Path) -> dict[str, Path]:
    """Return the GGUF files to compare with, by number format; all but the source are written."""
    files = {}
    for number_format in (peer for dtype in dtypes for peer in PEERS[dtype]):
        files[number_format] = source
        if number_format != "q4_1":
            files[number_format] = scratch / f"{number_format}.gguf"
            _prepare(python, "variant", source, number_format, files[number_format])
    return files


def _prepare(python: Path, *arguments: str | Path) -> None:
    command = [python, "-P", Path(__file__).with_name("prepare.py"), *arguments]
    subprocess.run(command, check=True, env=peer_environment())


def measure(
    task: Task,
    our_contenders: Mapping[str, Contender],
    programs: LlamaPrograms,
    files: Mapping[str, Path],
    ids: tuple[int, ...],
    rounds: int,
) -> Result:
    """Search llama.cpp's options for a task, and let all contenders take turns."""
    result, prompt = Result(), ids[: task.prompt_tokens]
    with ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for dtype, contender in our_contenders.items():
            name = f"ours {dtype}"
            contenders[name], result.peers[name] = contender, []
            for number_format in PEERS[dtype]:
                file = files[number_format]
                options = best_options(programs, file, prompt, task.new, task.part)
                for form in programs.forms():
                    peer = f"{form} {number_format}"
                    contenders[peer] = stack.enter_context(programs.contender(form, file, options))
                    result.options[peer] = str(options)
                    result.peers[name].append(peer)
        quiet = {name: when_quiet(contender) for name, contender in contenders.items()}
        timings = by_turns(quiet, prompt, task.new, rounds)
    result.runs = {name: [task.part(run) for run in runs] for name, runs in timings.items()}
    return result


def table_of(title: str, result: Result) -> Table:
    """Return a table with the spread of each contender."""
    table = Table(title=title)
    for column in ("", "median", "min", "max", "÷ llama.cpp", "options"):
        table.add_column(column, justify="left" if column in ("", "options") else "right")
    for name, runs in result.runs.items():
        ratio = result.ratio(name)
        figures = [f"{value:.2f}" for value in (statistics.median(runs), min(runs), max(runs))]
        shown_ratio = "" if ratio is None else "disturbed" if math.isnan(ratio) else f"{ratio:.2f}"
        table.add_row(name, *figures, shown_ratio, result.options.get(name, ""))
    return table


def version_of(python: Path) -> str:
    """Return the version of llama-cpp-python and the instructions that llama.cpp was built for."""
    script = (
        "import llama_cpp as l; print(l.__version__, l.llama_print_system_info().decode().strip())"
    )
    run = subprocess.run([python, "-P", "-c", script], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def main(
    folder: FolderArgument,
    gguf: Annotated[Path, typer.Option(help="The GGUF file of the same model, in Q4_1.")],
    llama: PeerOption = None,
    bench: Annotated[Path | None, typer.Option(help="Path of `llama-bench`.")] = None,
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
        for task in TASKS:
            result = measure(task, our_contenders, programs, files, ids, rounds)
            results[task.name] = asdict(result)
            title = f"{task.name} ({task.prompt_tokens} prompt tokens, {rounds} rounds)"
            Console(width=150).print(table_of(title, result))
    facts = {**machine(), "load before": load, "llama.cpp": version_of(llama)}
    Console().print(facts)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": facts, "results": results}, indent=1))


if __name__ == "__main__":
    typer.run(main)
