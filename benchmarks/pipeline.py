"""Milliseconds that a completion costs besides the model: window, tokenizing, truncation, repair.

A scripted engine answers immediately, so the measured time is that of our pipeline. Its lower
bound, measured in the same run, is the time to tokenize the prompt's text alone. At the first
completion in a file no pipeline can do without that; at the next key most token ids are cached.

If other programs use the processor, the processor time shows the cost of the pipeline, and the
elapsed time shows how busy the machine is.
"""

from __future__ import annotations

import asyncio
import json
import platform
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.loading.on_disk import EMBEDDED_DIR
from engine.scripted import ScriptedEngine
from engine.tokenizer import Tokenizer
from fim.completer import Completer
from fim.evaluation.report import percentile
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger

_OUTPUT = "compute(value, 17)\n"
_FIRST, _NEXT_KEY, _CACHED = "completion anywhere", "at the next key", "cached suggestion"
_TOKENIZING = "tokenizing alone"


def python_file(lines: int) -> str:
    """Return a Python file of `lines` lines in which no two functions are alike."""
    rng = random.Random(0)
    functions = []
    for number in range(lines // 5):
        name = f"name_{rng.randrange(10_000)}"
        functions.append(
            f"def function_{number}({name}, other):\n"
            f'    """Return {name} and the other, changed by {number}."""\n'
            f"    value = [{name}, other, {rng.randrange(1000)}]\n    return value\n\n"
        )
    return "".join(functions)


@dataclass
class _Times:
    """Milliseconds of repeated measurements of one operation."""

    passed: list[float] = field(default_factory=list)
    """Elapsed milliseconds."""
    processor: list[float] = field(default_factory=list)
    """Milliseconds of processor time, of all threads together."""

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Add the times of the block."""
        started, processor_started = time.perf_counter(), time.process_time()
        yield
        self.processor.append((time.process_time() - processor_started) * 1000)
        self.passed.append((time.perf_counter() - started) * 1000)


async def _measure(lines: int, count: int) -> dict[str, _Times]:
    tokenizer = Tokenizer.from_file(EMBEDDED_DIR)
    engine = ScriptedEngine(lambda _: _OUTPUT, model_tokenizer=tokenizer, context_window=8192)
    completer = Completer(engine, FimSettings(eagerness="eager"))
    file, rng = python_file(lines), random.Random(1)
    cursors = [offset for offset in range(len(file)) if file.startswith(", other, ", offset)]
    times = {name: _Times() for name in (_FIRST, _NEXT_KEY, _CACHED, _TOKENIZING)}
    for _ in range(count):
        cursor = rng.choice(cursors)
        text = file[:cursor] + file[file.index("\n", cursor) :]
        text_after_key = f"{text[:cursor]}~{text[cursor:]}"  # no cached suggestion matches
        for name, current_text, current_cursor in (
            (_FIRST, text, cursor),
            (_CACHED, text, cursor),
            (_NEXT_KEY, text_after_key, cursor + 1),
        ):
            snapshot = Snapshot("file:///a.py", "python", current_text, current_cursor)
            with times[name].measure():
                await completer.complete(snapshot, Trigger.AUTOMATIC)
        snapshot = Snapshot("file:///a.py", "python", text, cursor)
        ids = build(snapshot, detect(tokenizer), tokenizer.encode, 2048)
        prompt = tokenizer.decode(ids)
        with times[_TOKENIZING].measure():
            tokenizer.encode(prompt)
    return times


def main(
    lines: Annotated[int, typer.Option(min=10, help="Lines of the file.")] = 5000,
    count: Annotated[int, typer.Option(min=10, help="Number of cursors in it.")] = 300,
    out: Annotated[
        Path | None, typer.Option("--json", help="Write every time to this file.")
    ] = None,
) -> None:
    """Complete at random cursors of one file, and print the cost without a model."""
    times = asyncio.run(_measure(lines, count))
    table = Table(title=f"{lines} lines, {count} cursors; {platform.processor() or 'CPU'}, ms")
    for column in ("", "p50", "p95", "processor p50", "processor p95"):
        table.add_column(column)
    for name, measured in times.items():
        cells = (
            percentile(sorted(values), share)
            for values in (measured.passed, measured.processor)
            for share in (0.5, 0.95)
        )
        table.add_row(name, *(f"{cell:.2f}" for cell in cells))
    Console().print(table)
    if out is not None:
        rows = {name: asdict(measured) for name, measured in times.items()}
        out.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
