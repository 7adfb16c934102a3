"""Our engine and its peers in one run: each peer at its best, all by turns, on a quiet machine.

The options of llama.cpp are searched first, for each file and task. Each of our number formats is
compared with the fastest peer of those with about as many bits. A run waits until other programs
leave the processor alone (`benchmarks.peers.quiet`), and the threads of one contender have gone to
sleep before the next one starts. No ratio is printed for runs that were disturbed nevertheless.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from benchmarks.common import Contender, Timing, by_turns, machine
from benchmarks.peers.llama_contenders import LlamaPrograms, best_options
from benchmarks.peers.process import GenerateForm, TransformersGenerate
from benchmarks.peers.quiet import is_steady, when_quiet

LLAMA, GENERATE = "llama.cpp", "generate"

LLAMA_FORMATS: dict[str, tuple[str, ...]] = {
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
    on_busy_machine: bool = False
    """Whether the runs compete with other programs on purpose."""

    def prepared(self, contender: Contender) -> Contender:
        """Return a contender that waits for a quiet machine before each run, if it should."""
        return contender if self.on_busy_machine else when_quiet(contender)


def decode_task(prompt_tokens: int, new: int, *, on_busy_machine: bool = False) -> Task:
    """Return the task of decoding `new` tokens after a prompt."""
    where = " on a busy machine" if on_busy_machine else ""
    name = f"decode{where}, ms per token"
    return Task(name, prompt_tokens, new, lambda timing: timing.each, on_busy_machine)


def prefill_task(prompt_tokens: int) -> Task:
    """Return the task of computing a prompt and choosing its first token."""
    return Task("prefill, ms", prompt_tokens, 1, lambda timing: timing.first)


@dataclass(frozen=True, slots=True)
class Started:
    """A peer that runs with the options that are best for a task."""

    name: str
    contender: Contender
    options: str = ""


class Peer(Protocol):
    """A program to compare with."""

    program: str
    """`LLAMA` or `GENERATE`."""
    dtype: str
    """Our number format that is compared with it."""

    def start(self, task: Task, prompt: tuple[int, ...], stack: ExitStack) -> Iterator[Started]:
        """Start the program in each of its forms; `stack` ends them."""


class LlamaPeer:
    """llama.cpp with a file: its Python binding and, if there is one, its `llama-bench`."""

    program = LLAMA

    def __init__(self, programs: LlamaPrograms, file: Path, number_format: str, dtype: str) -> None:
        self.dtype = dtype
        self._programs, self._file, self._format = programs, file, number_format

    def start(self, task: Task, prompt: tuple[int, ...], stack: ExitStack) -> Iterator[Started]:
        """Search the options, and start each form with them."""
        options = best_options(
            self._programs, self._file, prompt, task.new, task.part, task.prepared
        )
        for form in self._programs.forms():
            contender = stack.enter_context(self._programs.contender(form, self._file, options))
            yield Started(f"{form} {self._format}", contender, str(options))


class GeneratePeer:
    """transformers' `generate` in one of its forms, with torch's default threads."""

    program = GENERATE

    def __init__(self, model: str, dtype: str, form: GenerateForm) -> None:
        self.dtype, self._model, self._form = dtype, model, form

    def start(self, task: Task, prompt: tuple[int, ...], stack: ExitStack) -> Iterator[Started]:
        """Start the process; compiling is part of its warm-up."""
        process = TransformersGenerate(self._model, self.dtype, self._form)
        stack.callback(process.close)
        yield Started(f"generate {self.dtype}, {self._form}", process)


@dataclass(slots=True)
class Result:
    """All runs of one task."""

    runs: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds by contender."""
    options: dict[str, str] = field(default_factory=dict)
    """The options of each peer that has some."""
    peers: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By program: the names of the contenders with which each of ours is compared."""
    may_vary: bool = False
    """Whether the machine was busy on purpose, so that runs differ."""

    def ratio(self, name: str, program: str) -> float | None:
        """Return the median of ours relative to the fastest form of a program.

        It is None if there is nothing to compare with, and NaN if runs of ours or of one of these
        peers were disturbed.
        """
        peers = self.peers.get(program, {}).get(name, [])
        if not peers:
            return None
        is_disturbed = not all(is_steady(self.runs[each]) for each in (name, *peers))
        if is_disturbed and not self.may_vary:
            return math.nan
        fastest = min(statistics.median(self.runs[peer]) for peer in peers)
        return statistics.median(self.runs[name]) / fastest

    def ratio_text(self, name: str, program: str) -> str:
        """Return the ratio for a table, empty if there is none."""
        ratio = self.ratio(name, program)
        return "" if ratio is None else "disturbed" if math.isnan(ratio) else f"{ratio:.2f}"


def measure(
    task: Task,
    ours_by_dtype: Mapping[str, Contender],
    peers: Sequence[Peer],
    ids: tuple[int, ...],
    rounds: int,
) -> Result:
    """Start the peers with the options that are best for a task, and let all take turns.

    `ids` has at least as many tokens as the task's prompt.
    """
    result, prompt = Result(may_vary=task.on_busy_machine), ids[: task.prompt_tokens]
    contenders = {f"ours {dtype}": contender for dtype, contender in ours_by_dtype.items()}
    with ExitStack() as stack:
        for peer in peers:
            for started in peer.start(task, prompt, stack):
                contenders[started.name] = started.contender
                if started.options:
                    result.options[started.name] = started.options
                of_program = result.peers.setdefault(peer.program, {})
                of_program.setdefault(f"ours {peer.dtype}", []).append(started.name)
        prepared = {name: task.prepared(contender) for name, contender in contenders.items()}
        timings = by_turns(prepared, prompt, task.new, rounds)
    result.runs = {name: [task.part(run) for run in runs] for name, runs in timings.items()}
    return result


def title_of(model: str, task: Task, rounds: int) -> str:
    """Return the title of a result."""
    return f"{model}: {task.name} ({task.prompt_tokens} prompt tokens, {rounds} rounds)"


def table_of(title: str, result: Result) -> Table:
    """Return a table with the spread of each contender."""
    table = Table(title=title)
    ratios = tuple(f"÷ {program}" for program in result.peers)
    for column in ("", "median", "min", "max", *ratios, "options"):
        table.add_column(column, justify="left" if column in ("", "options") else "right")
    for name, runs in result.runs.items():
        figures = [f"{value:.2f}" for value in (statistics.median(runs), min(runs), max(runs))]
        of_programs = [result.ratio_text(name, program) for program in result.peers]
        table.add_row(name, *figures, *of_programs, result.options.get(name, ""))
    return table


def llama_version(python: Path) -> str:
    """Return the version of llama-cpp-python and the instructions that llama.cpp was built for."""
    script = (
        "import llama_cpp as l; print(l.__version__, l.llama_print_system_info().decode().strip())"
    )
    run = subprocess.run([python, "-P", "-c", script], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def report_results(
    results: Mapping[str, Result], facts: Mapping[str, Any], json_file: Path | None
) -> None:
    """Print the table of each task and the machine; write all runs to a file."""
    for title, result in results.items():
        Console(width=150).print(table_of(title, result))
    all_facts = {**machine(), **facts}
    Console().print(all_facts)
    if json_file is not None:
        rows = {title: asdict(result) for title, result in results.items()}
        json_file.write_text(json.dumps({"machine": all_facts, "results": rows}, indent=1))
