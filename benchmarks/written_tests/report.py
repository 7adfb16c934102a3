"""The tables of the measurements, and their JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.common import machine
from benchmarks.written_tests.measure import Measurement

_COLUMNS = (
    "functions of",
    "with test",
    "pass",
    "checked",
    "detecting",
    "mutations",
    "median s",
    "p95 s",
)


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a group of functions."""

    name: str
    num_functions: int
    num_with_test: int
    num_run: int
    """Number of functions whose shown tests could be run."""
    num_passing: int
    """Number of these functions whose shown tests all passed."""
    num_checked: int
    """Number of functions whose tests the product ran before it showed them."""
    num_detecting: int
    """Number of these functions whose tests detect a mutation."""
    num_mutations: int
    num_detected: int
    """Number of mutations of these functions, and of those that the tests detect."""
    median_s: float
    p95_s: float


def summarize(name: str, group: Sequence[Measurement]) -> Summary:
    """Return the figures of a group that is not empty."""
    outcomes = Counter(each.run.outcome for each in group if each.run is not None)
    seconds = sorted(each.seconds for each in group)
    checked = [each.checked for each in group if each.checked is not None]
    return Summary(
        name,
        num_functions=len(group),
        num_with_test=outcomes.total(),
        num_run=outcomes["passed"] + outcomes["failed"],
        num_passing=outcomes["passed"],
        num_checked=len(checked),
        num_detecting=sum(each.num_detected > 0 for each in checked),
        num_mutations=sum(each.num_mutations for each in checked),
        num_detected=sum(each.num_detected for each in checked),
        median_s=statistics.median(seconds),
        p95_s=seconds[math.ceil(0.95 * len(seconds)) - 1],
    )


def summaries(measurements: Sequence[Measurement]) -> list[Summary]:
    """Return the figures of each ecosystem and framework, and those of all functions."""
    groups: dict[str, list[Measurement]] = {}
    for each in measurements:
        groups.setdefault(f"{each.ecosystem}, {each.framework}", []).append(each)
    rows = [summarize(name, group) for name, group in groups.items()]
    return [*rows, summarize("all", measurements)]


def share(part: int, whole: int) -> str:
    """Return a share as its numbers; a line if there is nothing to have a share of."""
    return f"{part} of {whole}" if whole else "–"


def print_tables(measurements: Sequence[Measurement], model: str, console: Console) -> None:
    """Print the figures, and why tests failed or were not run."""
    table = Table(title=f"Tests written by {escape(model)}")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == _COLUMNS[0] else "right")
    for row in summaries(measurements):
        table.add_row(
            row.name,
            share(row.num_with_test, row.num_functions),
            share(row.num_passing, row.num_run),
            str(row.num_checked),
            share(row.num_detecting, row.num_checked),
            share(row.num_detected, row.num_mutations),
            f"{row.median_s:.1f}",
            f"{row.p95_s:.1f}",
        )
    console.print(table)
    for line in _remarks(measurements):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _remarks(measurements: Iterable[Measurement]) -> list[str]:
    """Return which functions have no test or a failing one, and why tests were not run."""
    without, failing, not_run = [], [], Counter[tuple[str, str]]()
    for each in measurements:
        if each.run is None:
            without.append(each.name)
        elif each.run.outcome == "failed":
            failing.append(each.name)
        elif each.run.outcome == "not run":
            not_run[(each.framework, each.run.detail)] += 1
    lines = [f"No test: {', '.join(without)}"] if without else []
    lines += [f"Tests fail: {', '.join(failing)}"] if failing else []
    return lines + [
        f"Not run ({framework}, functions: {count}): {reason}"
        for (framework, reason), count in not_run.items()
    ]


def write_json(measurements: Sequence[Measurement], model: str, path: Path) -> None:
    """Write every measurement and the figures of the groups to a file."""
    rows: list[dict[str, Any]] = [asdict(each) for each in measurements]
    figures = [asdict(each) for each in summaries(measurements)]
    content = {"model": model, "machine": machine(), "summaries": figures, "functions": rows}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
