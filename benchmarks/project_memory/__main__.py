"""Quality and cost of suggestions with and without the project memory, on pairs of releases.

Run `python -m benchmarks.project_memory FOLDER`, with a folder of pairs that
`benchmarks.project_memory.releases` downloaded, such as `PAIRS/report`. Each hole is filled with
each variant in this process; other work on the machine makes the times worse, and only these.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from benchmarks.project_memory.counting import CountingEngine
from benchmarks.project_memory.measuring import (
    VARIANTS,
    PackageHoles,
    Row,
    choose_holes,
    fill,
    shares,
)
from benchmarks.project_memory.releases import find_pairs
from benchmarks.project_memory.summary import Comparison, Summary, compare, summarize
from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.evaluation.files import Sample
from fim.evaluation.older_trees import private_folder
from lsp_server.cli.results import Results
from lsp_server.cli.terminal import print_line, print_table

COLUMNS = (
    *("lines", "memory", "holes", "exact", "shown", "parses", "calibration error"),
    *("duplicated", "steps per token", "decoding", "p50 ms", "p95 ms"),
)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with NAME/old and NAME/new.")],
    holes: Annotated[int, typer.Option(min=1, help="Holes of each kind of lines.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of holes.")] = 0,
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    variant: Annotated[
        list[str] | None, typer.Option(help=f"Settings to compare: {', '.join(VARIANTS)}.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Results as JSON lines; those in it are not repeated.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Fill holes in random and in added lines of all pairs, and compare the variants."""
    names = variant or ["off", "on"]
    if unknown := set(names) - VARIANTS.keys():
        raise typer.BadParameter(f"There are no settings {', '.join(sorted(unknown))}.")
    pairs = find_pairs(folder)
    if not pairs:
        raise typer.BadParameter(f"{folder} has no pair of releases.")
    results = Results(out, lambda row: Row(**row))
    with private_folder() as scratch:
        counts = shares(holes, len(pairs))
        chosen = [
            choose_holes(pair, count, seed, scratch)
            for pair, count in zip(pairs, counts, strict=True)
        ]
        asyncio.run(_fill_all(chosen, names, model, results))
    hole_names = {hole.name for package in chosen for hole in package.holes}
    rows = [row for row in results.rows if row.name in hole_names and row.variant in names]
    figures = {key: summarize(group) for key, group in _groups(rows, names).items()}
    _print(figures)
    comparisons = _comparisons(rows, names)
    for (sample, name), comparison in comparisons.items():
        _print_comparison(sample, f"{name} against {names[0]}", comparison)
    if report is not None:
        report.write_text(json.dumps(_as_json(figures, comparisons), indent=1) + "\n")


async def _fill_all(
    chosen: Sequence[PackageHoles], names: Sequence[str], model: str, results: Results[Row]
) -> None:
    engine = CountingEngine(LocalEngine(EngineSettings(model=model)))
    try:
        await engine.info()
        done = {(row.name, row.variant) for row in results.rows}
        for package in track(chosen, "filling holes"):
            await fill(package, {name: VARIANTS[name] for name in names}, engine, done, results.add)
    finally:
        await engine.aclose()


def _groups(rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each kind of lines and variant, random lines first."""
    keys = [(sample.value, variant) for sample in Sample for variant in names]
    groups = {key: [row for row in rows if (row.sample, row.variant) == key] for key in keys}
    return {key: group for key, group in groups.items() if group}


def _comparisons(rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[str, str], Comparison]:
    """Compare each variant with the first one."""
    groups = _groups(rows, names)
    return {
        (sample.value, name): compare(groups[sample, names[0]], groups[sample, name])
        for sample in Sample
        for name in names[1:]
        if (sample, names[0]) in groups and (sample, name) in groups
    }


def _print(figures: dict[tuple[str, str], Summary]) -> None:
    print_table("", COLUMNS, [_cells(*key, summary) for key, summary in figures.items()])


def _cells(sample: str, variant: str, summary: Summary) -> tuple[str, ...]:
    return (
        sample,
        variant,
        f"{summary.holes}",
        f"{summary.exact:.1%} ± {summary.exact_error:.1%}",
        f"{summary.shown:.1%}",
        f"{summary.parses:.1%}",
        f"{summary.calibration:.1%}",
        f"{summary.duplicated}",
        f"{summary.steps_per_token:.2f}",
        f"{summary.decoding_per_token:.2f}",
        f"{summary.p50_ms:.0f}",
        f"{summary.p95_ms:.0f}",
    )


def _print_comparison(sample: str, variants: str, comparison: Comparison) -> None:
    print_line(
        f"{sample} lines, {variants}: {comparison.difference:+.1%} ± {comparison.error:.1%} "
        f"exact of {comparison.holes} holes; {comparison.gained} gained, {comparison.lost} lost; "
        f"McNemar p = {comparison.p_value:.2g}"
    )


def _as_json(
    figures: dict[tuple[str, str], Summary], comparisons: dict[tuple[str, str], Comparison]
) -> dict[str, Any]:
    return {
        "figures": [
            {"lines": sample, "memory": variant, **asdict(summary)}
            for (sample, variant), summary in figures.items()
        ],
        "comparisons": [
            {"lines": sample, "memory": variant, **asdict(each)}
            for (sample, variant), each in comparisons.items()
        ],
    }


if __name__ == "__main__":
    typer.run(main)
