"""`starcoder-lsp eval PATH`: how good completions are on files that you choose."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.client.managed import ManagedEngine
from engine.errors import ConfigurationError
from engine.settings import EngineSettings
from fim.completer import ContextProvider
from fim.evaluation.files import File, source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes, read_holes
from fim.evaluation.plot import draw_plot, require_matplotlib
from fim.evaluation.project_context import context_provider_for
from fim.evaluation.report import (
    Calibration,
    Row,
    ThresholdRow,
    calibrations,
    rows,
    threshold_rows,
)
from fim.evaluation.run import Evaluator, Record, RunTest
from fim.evaluation.sandbox import Outcome, make_sandbox
from fim.settings import FimSettings
from lsp_server.cli import common
from lsp_server.cli.results import Results

_WAYS = 2


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Repositories, or a file of holes as JSON lines (HumanEval's).",
        ),
    ],
    kinds: Annotated[
        list[HoleKind] | None,
        typer.Option("--kind", help="What to cut out; by default single lines."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Holes at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    model: common.Model = common.DEFAULT_MODEL,
    adapter: Annotated[
        str | None, typer.Option(help="An adapter that `tune` made, to measure it.")
    ] = None,
    dtype: common.DtypeOption = "auto",
    device: common.DeviceOption = "auto",
    offline: common.Offline = False,
    tests: Annotated[
        bool, typer.Option(help="Run the tests of holes that have some, in a sandbox.")
    ] = True,
    run_unsandboxed: Annotated[
        bool,
        typer.Option(help="Run them with limits only: a program can do there what you can."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON lines, one a filling; what is in it is kept."),
    ] = None,
    report: Annotated[Path | None, typer.Option("--json", help="Write the tables here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture: .png or .svg.")] = None,
) -> None:
    """Cut holes into files, fill them, and compare: the model alone beside the whole pipeline.

    Tests that come with holes are run where code that a model wrote can do no harm, or not at all.
    Holes depend on the files and the seed alone, so models and adapters are measured on the same.
    """
    with common.plain_errors():
        if plot is not None:
            require_matplotlib()
        files = [] if _is_benchmark(paths) else source_files(*paths)
        holes = _holes(paths, files, kinds or [HoleKind.LINE], count, seed)
        has_tests = tests and any(hole.test for hole in holes)
        run_test = _tester(unsandboxed=run_unsandboxed) if has_tests else None
        settings = EngineSettings(model=model, dtype=dtype, device=device, offline=offline)
        results = Results(out, lambda row: Record(**row))
        fim = FimSettings(adapter=adapter)
        asyncio.run(_fill(holes, settings, fim, run_test, context_provider_for(files), results))
        wanted = {hole.name for hole in holes}
        records = [record for record in results.rows if record.name in wanted]
        if plot is not None:
            draw_plot(records, plot)
    _print(records)
    if report is not None:
        report.write_text(json.dumps(_report(records), indent=1) + "\n", encoding="utf-8")


def _is_benchmark(paths: Sequence[Path]) -> bool:
    return len(paths) == 1 and paths[0].is_file()


def _holes(
    paths: Sequence[Path], files: Sequence[File], kinds: Sequence[HoleKind], count: int, seed: int
) -> list[Hole]:
    if _is_benchmark(paths):
        holes = read_holes(paths[0])
        if len(holes) > count:
            chosen = sorted(random.Random(seed).sample(range(len(holes)), count))
            holes = [holes[index] for index in chosen]
    else:
        holes = draw_holes(files, kinds, count, seed)
    if not holes:
        raise ConfigurationError(f"{paths[0]} has no source files in which to cut such holes.")
    return holes


def _tester(*, unsandboxed: bool) -> RunTest:
    box = make_sandbox(unsandboxed=unsandboxed)
    return lambda program: box.run(program) is Outcome.PASSED


async def _fill(
    holes: Sequence[Hole],
    settings: EngineSettings,
    fim: FimSettings,
    run_test: RunTest | None,
    context_provider: ContextProvider,
    results: Results[Record],
) -> None:
    wanted = {hole.name for hole in holes}
    done = {(record.name, record.mode) for record in results.rows if record.name in wanted}
    engine = ManagedEngine(settings)
    try:
        await engine.info()  # once it is loaded: no filling's time has that in it
        with Progress(console=common.stderr(), transient=True) as progress:
            total = _WAYS * len(holes)
            task = progress.add_task("filling holes", total=total, completed=len(done))
            async for record in Evaluator(engine, fim, run_test, context_provider).fill(
                holes, done
            ):
                results.add(record)
                progress.advance(task)
    finally:
        await engine.aclose()


def _report(records: Sequence[Record]) -> dict[str, Any]:
    groups = {"kind": lambda r: r.kind, "language": lambda r: r.language}
    return {
        **{name: [asdict(row) for row in rows(records, group)] for name, group in groups.items()},
        "calibration": [asdict(one) for one in _all_and_by_language(records)],
        "thresholds": [asdict(one) for one in threshold_rows(records)],
    }


def _all_and_by_language(records: Sequence[Record]) -> list[Calibration]:
    by_language = calibrations(records, lambda record: record.language)
    return [*calibrations(records, lambda _: "all"), *(by_language if len(by_language) > 1 else ())]


def _print(records: Sequence[Record]) -> None:
    console = Console(highlight=False)
    console.print(_table("by kind", rows(records, lambda record: record.kind)))
    if any(record.passed is not None for record in records):
        console.print(_passes(rows(records, lambda record: record.kind)))
    if len({record.language for record in records}) > 1:
        console.print(_table("by language", rows(records, lambda record: record.language)))
    for one in _all_and_by_language(records):
        console.print(_reliability(one))
    console.print(_thresholds(threshold_rows(records)))


def _reliability(found: Calibration) -> Table:
    title = f"calibration, {found.group}: error {found.error:.1%} of {found.count} suggestions"
    table = Table(title=title, title_justify="left")
    for column in ("confidence", "suggestions", "mean confidence", "first line right"):
        table.add_column(column)
    for one in found.bins:
        table.add_row(
            f"{one.low:.0%} to {one.high:.0%}",
            str(one.count),
            f"{one.confidence:.0%}",
            f"{one.right:.0%}",
        )
    return table


def _thresholds(found: Sequence[ThresholdRow]) -> Table:
    table = Table(title="if only what is surer than this were shown", title_justify="left")
    for column in ("confidence", "shown", "of it exact", "of all exact", "similar"):
        table.add_column(column)
    for row in found:
        table.add_row(
            f"{row.min_confidence:.0%}",
            f"{row.shown:.0%}",
            f"{row.precision:.0%}",
            f"{row.recall:.0%}",
            f"{row.similarity:.2f}",
        )
    return table


def _table(title: str, found: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "way", "holes", "shown", "exact", "similar", "parses", "p50", "p95"):
        table.add_column(column, no_wrap=column == "way")
    for row in found:
        parses = "" if row.parses is None else f"{row.parses:.1%}"
        table.add_row(
            row.group,
            row.mode,
            str(row.holes),
            f"{row.shown:.0%}",
            f"{row.exact:.1%} ± {row.exact_error:.1%}",
            f"{row.similarity:.2f}",
            parses,
            _milliseconds(row.p50_ms),
            _milliseconds(row.p95_ms),
        )
    return table


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _passes(found: Sequence[Row]) -> Table:
    table = Table(title="tests", title_justify="left")
    for column in ("", "way", "holes with tests", "pass@1"):
        table.add_column(column)
    for row in found:
        if row.passed is not None:
            error = (row.passed * (1 - row.passed) / row.tested) ** 0.5
            table.add_row(row.group, row.mode, str(row.tested), f"{row.passed:.1%} ± {error:.1%}")
    return table
