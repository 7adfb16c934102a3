"""Milliseconds that a completion costs beside the model: window, ids, cut, clean, syntax.

A scripted engine answers at once, so that what is left is ours. The floor measured in the same run
is tokenizing the prompt's text alone: no pipeline can ask a model without it where a file is first
met. At the next key most of the ids are known. Where other programs use the processor, its own time
tells what the pipeline costs; the time that passes tells how busy the machine is.
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

from engine.loading.catalog import EMBEDDED_DIR
from engine.scripted import ScriptedEngine
from engine.tokenizer import Tokenizer
from fim.completer import Completer
from fim.evaluation.report import percentile
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger

_ANSWER = "compute(value, 17)\n"


def python_file(lines: int) -> str:
    """Return a Python file of so many lines, no two functions alike."""
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
    """Milliseconds of one thing: passed, and of the processor, all threads together."""

    passed: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @contextmanager
    def took(self) -> Iterator[None]:
        """Add what is done within."""
        started, used = time.perf_counter(), time.process_time()
        yield
        self.processor.append((time.process_time() - used) * 1000)
        self.passed.append((time.perf_counter() - started) * 1000)


async def _measure(lines: int, count: int) -> dict[str, _Times]:
    tokenizer = Tokenizer.from_file(EMBEDDED_DIR)
    engine = ScriptedEngine(lambda _: _ANSWER, held=tokenizer, context_window=8192)
    completer = Completer(engine, FimSettings(eagerness="eager"))
    text, rng = python_file(lines), random.Random(1)
    ends = [at for at in range(len(text)) if text.startswith(", other, ", at)]
    names = ("completion anywhere", "at the next key", "known answer", "tokenizing alone")
    times = {name: _Times() for name in names}
    for _ in range(count):
        cursor = rng.choice(ends)
        here = text[:cursor] + text[text.index("\n", cursor) :]
        then = f"{here[:cursor]}~{here[cursor:]}"  # what nothing was suggested for
        for name, text_then, at in (
            ("completion anywhere", here, cursor),
            ("known answer", here, cursor),
            ("at the next key", then, cursor + 1),
        ):
            snapshot = Snapshot("file:///a.py", "python", text_then, at)
            with times[name].took():
                await completer.complete(snapshot, Trigger.AUTOMATIC)
        snapshot = Snapshot("file:///a.py", "python", here, cursor)
        family = detect(tokenizer)
        ids = build(snapshot, family, tokenizer.encode, 2048).ids
        shown = tokenizer.decode(ids)
        with times["tokenizing alone"].took():
            tokenizer.encode(shown)
    return times


def main(
    lines: Annotated[int, typer.Option(min=10, help="Of the file that is completed in.")] = 5000,
    count: Annotated[int, typer.Option(min=10, help="Places in it.")] = 300,
    out: Annotated[Path | None, typer.Option("--json", help="Keep every time.")] = None,
) -> None:
    """Complete at random places of one file and print what it costs without a model."""
    times = asyncio.run(_measure(lines, count))
    table = Table(title=f"{lines} lines, {count} places; {platform.processor() or 'CPU'}, ms")
    for column in ("", "p50", "p95", "processor's p50", "p95"):
        table.add_column(column)
    for name, found in times.items():
        ordered = (sorted(found.passed), sorted(found.processor))
        cells = (percentile(one, share) for one in ordered for share in (0.5, 0.95))
        table.add_row(name, *(f"{cell:.2f}" for cell in cells))
    Console().print(table)
    if out is not None:
        out.write_text(
            json.dumps({name: asdict(found) for name, found in times.items()}), encoding="utf-8"
        )


if __name__ == "__main__":
    typer.run(main)
