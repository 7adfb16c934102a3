"""Soak, kills and cancellations with real servers, a real engine and simulated users.

One command for the three tables of docs/robustness.md. Memory and counts are valid on a busy
machine, too. Nothing here measures speed.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.robustness.cancellation import CancellationResult, cancel_randomly
from benchmarks.robustness.engines import shared_engine
from benchmarks.robustness.kill import CASES, LAST_CASE, CaseCount, count
from benchmarks.robustness.processes import Course
from benchmarks.robustness.soak import SoakResult, soak

WARM_UP_S = 120.0
"""Seconds after which memory should stay the same."""
WIDTH_S = 20.0
"""Seconds over which memory is averaged."""
_NUM_EDITORS = 4
_FOLDER = Path(__file__).parent.parent.parent / "fim"


@contextmanager
def own_state() -> Iterator[Path]:
    """Give servers and engine folders of their own inside the block; yields an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "STARCODER_LSP_RUNTIME_DIR": f"{folder}/run",
            "STARCODER_LSP_LOG_DIR": f"{folder}/log",
            "STARCODER_LSP_STATISTICS": f"{folder}/statistics.sqlite3",
            "STARCODER_LSP_CHATS": f"{folder}/chats.sqlite3",
        }
        yield Path(folder)


async def kill_all(model: str, rounds: int) -> list[CaseCount]:
    """Try each case of `benchmarks.robustness.kill`."""
    async with shared_engine(_NUM_EDITORS, model) as shared:
        counts = [await count(case, shared, rounds) for case in CASES]
        counts.append(await count(LAST_CASE, shared, min(rounds, _NUM_EDITORS - 1)))
    return counts


async def cancel_all(model: str, number: int) -> CancellationResult:
    """Cancel `number` requests at random moments."""
    async with shared_engine(_NUM_EDITORS, model) as shared:
        return await cancel_randomly(shared, number)


def main(
    minutes: Annotated[float, typer.Option(help="Minutes of the soak; 0 leaves it out.")] = 30,
    typists: Annotated[int, typer.Option(min=1, help="Users in the soak.")] = 4,
    kills: Annotated[int, typer.Option(help="Rounds of each case; 0 leaves them out.")] = 5,
    cancellations: Annotated[int, typer.Option(help="Requests; 0 leaves them out.")] = 2000,
    folder: Annotated[Path, typer.Option(help="Folder with the files that are typed.")] = _FOLDER,
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all samples and counts to this file.")
    ] = None,
) -> None:
    """Print what servers and engine survive."""
    results: dict[str, Any] = {}
    console = Console(width=120)
    with own_state() as scratch:
        if cancellations:
            cancelled = asyncio.run(cancel_all(model, cancellations))
            results["cancellations"] = asdict(cancelled)
            console.print(_cancellation_table(cancelled))
        if kills:
            counts = asyncio.run(kill_all(model, kills))
            results["kills"] = [asdict(each) for each in counts]
            console.print(_kill_table(counts))
        if minutes:
            soaked = asyncio.run(
                soak(folder, scratch / "work", model=model, typists=typists, seconds=60 * minutes)
            )
            results["soak"] = {
                "actions": dict(soaked.actions),
                "processes": [asdict(c) for c in soaked.courses],
            }
            console.print(_soak_table(soaked))
            console.print(_actions(soaked))
    if json_file is not None:
        json_file.write_text(json.dumps(results))


def _cancellation_table(result: CancellationResult) -> Table:
    table = Table(title="Requests cancelled at random moments")
    for column in ("", "number"):
        table.add_column(column, justify="right")
    for name, value in asdict(result).items():
        if isinstance(value, int):
            table.add_row(name.replace("_", " "), str(value))
    return table


def _kill_table(counts: list[CaseCount]) -> Table:
    table = Table(title="Kills: the next key is answered")
    for column in ("case", "tried", "answered", "first problem"):
        table.add_column(column)
    for each in counts:
        table.add_row(each.name, str(each.tried), str(each.passed), each.problem)
    return table


def _soak_table(result: SoakResult) -> Table:
    end = result.courses[0].samples[-1].seconds
    warm_up = min(WARM_UP_S, end / 2)
    table = Table(title=f"MiB, threads, files and child processes over {end / 60:.0f} minutes")
    columns = (
        "process",
        "after warm-up",
        "middle",
        "end",
        "growth",
        "threads",
        "files",
        "children",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for course in result.courses:
        memory = (course.memory_at(time, WIDTH_S) for time in (warm_up, end / 2, end))
        table.add_row(
            course.name,
            *(f"{value:.0f}" for value in memory),
            f"{100 * course.growth(warm_up, WIDTH_S):+.1f} %",
            *_counts(course, warm_up),
        )
    return table


def _counts(course: Course, warm_up: float) -> list[str]:
    """Return the largest numbers of threads, files and children, before and after the warm-up."""
    early = [sample for sample in course.samples if sample.seconds <= warm_up]
    late = [sample for sample in course.samples if sample.seconds > warm_up]
    return [
        " / ".join(
            str(max(getattr(sample, name) for sample in samples)) for samples in (early, late)
        )
        for name in ("threads", "files", "children")
    ]


def _actions(result: SoakResult) -> str:
    actions = ", ".join(f"{name} {number}" for name, number in result.actions.most_common())
    return (
        f"{actions}; unanswered requests {result.num_unanswered}, responses too many "
        f"{result.num_unexpected}, errors {result.num_errors}"
    )


if __name__ == "__main__":
    typer.run(main)
