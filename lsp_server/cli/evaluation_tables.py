"""The tables of `starcoder-lsp eval`: printed, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from fim.evaluation.report import (
    Calibration,
    Row,
    ThresholdRow,
    calibrations,
    rows,
    threshold_rows,
)
from fim.evaluation.run import Record
from lsp_server.cli import common


def report_json(records: Sequence[Record]) -> dict[str, Any]:
    """Return the tables as JSON."""
    groups = {"kind": lambda r: r.kind, "language": lambda r: r.language}
    return {
        **{name: [asdict(row) for row in rows(records, group)] for name, group in groups.items()},
        "calibration": [asdict(calibration) for calibration in _calibrations(records)],
        "thresholds": [asdict(row) for row in threshold_rows(records)],
    }


def _calibrations(records: Sequence[Record]) -> list[Calibration]:
    """Return the calibration of all records, and if there are several languages, of each."""
    by_language = calibrations(records, lambda record: record.language)
    return [*calibrations(records, lambda _: "all"), *(by_language if len(by_language) > 1 else ())]


def print_tables(records: Sequence[Record]) -> None:
    """Print quality by kind and language, calibration and thresholds."""
    console = Console(highlight=False)
    by_kind = rows(records, lambda record: record.kind)
    console.print(_quality_table("by kind", by_kind))
    if any(record.passed is not None for record in records):
        console.print(_tests_table(by_kind))
    if len({record.language for record in records}) > 1:
        by_language = rows(records, lambda record: record.language)
        console.print(_quality_table("by language", by_language))
    for calibration in _calibrations(records):
        console.print(_calibration_table(calibration))
    console.print(_thresholds_table(threshold_rows(records)))


def _calibration_table(calibration: Calibration) -> Table:
    table = common.make_table(
        f"calibration, {calibration.group}: error {calibration.error:.1%} of "
        f"{calibration.count} suggestions",
        "confidence",
        "suggestions",
        "mean confidence",
        "first line right",
    )
    for bin_ in calibration.bins:
        table.add_row(
            f"{bin_.low:.0%} to {bin_.high:.0%}",
            str(bin_.count),
            f"{bin_.confidence:.0%}",
            f"{bin_.right:.0%}",
        )
    return table


def _thresholds_table(thresholds: Sequence[ThresholdRow]) -> Table:
    title = "if only suggestions of at least this confidence were shown"
    columns = ("confidence", "shown", "exact, of shown", "shown, of exact", "similar")
    table = common.make_table(title, *columns)
    for row in thresholds:
        table.add_row(
            f"{row.min_confidence:.0%}",
            f"{row.shown:.0%}",
            f"{row.precision:.0%}",
            f"{row.recall:.0%}",
            f"{row.similarity:.2f}",
        )
    return table


def _quality_table(title: str, quality_rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "mode", "holes", "shown", "exact", "similar", "parses", "p50", "p95"):
        table.add_column(column, no_wrap=column == "mode")
    for row in quality_rows:
        table.add_row(
            row.group,
            row.mode,
            str(row.holes),
            f"{row.shown:.0%}",
            f"{row.exact:.1%} ± {row.exact_error:.1%}",
            f"{row.similarity:.2f}",
            "" if row.parses is None else f"{row.parses:.1%}",
            _milliseconds(row.p50_ms),
            _milliseconds(row.p95_ms),
        )
    return table


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _tests_table(quality_rows: Sequence[Row]) -> Table:
    table = common.make_table("tests", "", "mode", "holes with tests", "pass@1")
    for row in quality_rows:
        if row.passed is not None:
            error = (row.passed * (1 - row.passed) / row.tested) ** 0.5
            table.add_row(row.group, row.mode, str(row.tested), f"{row.passed:.1%} ± {error:.1%}")
    return table
