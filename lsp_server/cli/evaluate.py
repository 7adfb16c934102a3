"""`starcoder-lsp eval PATH`: how good completions are on files that you choose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.client.managed import ManagedEngine
from engine.errors import ConfigurationError
from engine.settings import EngineSettings
from fim.completer import FimSettings
from fim.evaluation.holes import Hole, Kind, draw, read_holes, source_files
from fim.evaluation.report import Certainty, Row, certainties, rows
from fim.evaluation.run import Evaluator, Record
from lsp_server.cli import common

_WAYS = 2


def evaluate(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A repository, or holes as JSON lines (HumanEval's)."),
    ],
    kinds: Annotated[
        list[Kind] | None, typer.Option("--kind", help="What to cut out; by default single lines.")
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
    out: Annotated[
        Path | None,
        typer.Option(help="JSON lines, one a filling; what is in it is kept."),
    ] = None,
) -> None:
    """Cut holes into files, fill them, and compare: the model alone beside the whole pipeline.

    Holes depend on the files and the seed alone, so models and adapters are measured on the same.
    """
    with common.plain_errors():
        if path.is_file():
            holes = read_holes(path)[:count]
        else:
            holes = draw(source_files(path), kinds or [Kind.LINE], count, seed)
        if not holes:
            raise ConfigurationError(f"{path} has no source files in which to cut such holes.")
        settings = EngineSettings(model=model, dtype=dtype, device=device, offline=offline)
        records = asyncio.run(
            _fill(holes, settings, FimSettings(adapter=adapter), out, _fresh(out))
        )
    console = Console(highlight=False)
    console.print(_table("by kind", rows(records, lambda record: record.kind)))
    if len({record.language for record in records}) > 1:
        console.print(_table("by language", rows(records, lambda record: record.language)))
    console.print(_calibration(certainties(records)))


def _fresh(out: Path | None) -> list[Record]:
    """Return what an earlier run wrote, and leave the file without a half line of a kill."""
    done = _read(out)
    if out is not None:
        out.write_text("".join(_line(record) for record in done), encoding="utf-8")
    return done


async def _fill(
    holes: Sequence[Hole],
    settings: EngineSettings,
    fim: FimSettings,
    out: Path | None,
    done: Sequence[Record],
) -> list[Record]:
    wanted = {hole.name for hole in holes}
    records = [record for record in done if record.name in wanted]
    finished = {(record.name, record.way) for record in records}
    engine = ManagedEngine(settings)
    try:
        with Progress(console=common.stderr(), transient=True) as progress:
            task = progress.add_task("filling holes", total=_WAYS * len(holes))
            progress.advance(task, len(records))
            evaluator = Evaluator(engine, fim)
            async for record in evaluator.fill(holes, finished):
                records.append(record)
                if out is not None:
                    with out.open("a", encoding="utf-8") as lines:
                        lines.write(_line(record))
                progress.advance(task)
    finally:
        await engine.aclose()
    return records


def _line(record: Record) -> str:
    return json.dumps(asdict(record)) + "\n"


def _read(out: Path | None) -> list[Record]:
    """Return what an earlier run wrote; a last line that was cut off is done again."""
    if out is None or not out.exists():
        return []
    records = []
    for line in out.read_text(encoding="utf-8").splitlines():
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return records


def _calibration(found: Sequence[Certainty]) -> Table:
    table = Table(title="if only what is surer than this were shown", title_justify="left")
    for column in ("confidence", "shown", "of it exact", "of all exact", "similar"):
        table.add_column(column)
    for row in found:
        table.add_row(
            f"{row.least:.0%}", f"{row.shown:.0%}", f"{row.precision:.0%}", f"{row.recall:.0%}",
            f"{row.similarity:.2f}",
        )  # fmt: skip
    return table


def _table(title: str, found: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "way", "holes", "shown", "exact", "similar", "parses", "p50", "p95"):
        table.add_column(column, no_wrap=column == "way")
    for row in found:
        parses = "" if row.parses is None else f"{row.parses:.1%}"
        table.add_row(
            row.group, row.way, str(row.holes), f"{row.shown:.0%}",
            f"{row.exact:.1%} ± {row.exact_error:.1%}", f"{row.similarity:.2f}", parses,
            f"{row.p50_ms:.0f} ms", f"{row.p95_ms:.0f} ms",
        )  # fmt: skip
    return table
