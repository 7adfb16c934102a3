"""The tables of `starcoder-lsp eval`: printed, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fim.evaluation.report import (
    Calibration,
    Row,
    ThresholdRow,
    calibrations,
    rows,
    threshold_rows,
)
from fim.evaluation.run import Record
from lsp_server.cli import terminal


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


def print_tables(records: Sequence[Record], model: str) -> None:
    """Print quality by kind and language, calibration and thresholds; `model` heads them."""
    by_kind = rows(records, lambda record: record.kind)
    _print_quality(f"{model}, by kind", "kind", by_kind)
    if any(record.passed is not None for record in records):
        _print_tests(by_kind)
    if len({record.language for record in records}) > 1:
        by_language = rows(records, lambda record: record.language)
        _print_quality(f"{model}, by language", "language", by_language)
    for calibration in _calibrations(records):
        _print_calibration(calibration)
    _print_thresholds(threshold_rows(records))
    terminal.print_line("docs/evaluation.md explains the columns.", style="dim")


def _print_calibration(calibration: Calibration) -> None:
    terminal.print_table(
        f"\nCalibration, {calibration.group}: error {calibration.error:.1%} of "
        f"{calibration.count} suggestions",
        ("confidence", "suggestions", "mean confidence", "first line right"),
        [
            (
                f"{bin_.low:.0%} to {bin_.high:.0%}",
                str(bin_.count),
                f"{bin_.confidence:.0%}",
                f"{bin_.right:.0%}",
            )
            for bin_ in calibration.bins
        ],
        empty=f"\nCalibration, {calibration.group}: there are no suggestions.",
    )


def _print_thresholds(thresholds: Sequence[ThresholdRow]) -> None:
    terminal.print_table(
        "\nIf only suggestions of at least this confidence were shown",
        ("confidence", "shown", "exact, of shown", "shown, of exact", "similar"),
        [
            (
                f"{row.min_confidence:.0%}",
                f"{row.shown:.0%}",
                f"{row.precision:.0%}",
                f"{row.recall:.0%}",
                f"{row.similarity:.2f}",
            )
            for row in thresholds
        ],
    )


def _print_quality(title: str, group: str, quality_rows: Sequence[Row]) -> None:
    columns = ("mode", "holes", "shown", "exact", "similar", "parses", "p50 ms", "p95 ms")
    terminal.print_table(
        f"\n{title}",
        (group, *columns),
        [
            (
                row.group,
                row.mode,
                str(row.holes),
                f"{row.shown:.0%}",
                f"{row.exact:.1%} ± {row.exact_error:.1%}",
                f"{row.similarity:.2f}",
                "" if row.parses is None else f"{row.parses:.0%}",
                _milliseconds(row.p50_ms),
                _milliseconds(row.p95_ms),
            )
            for row in quality_rows
        ],
    )


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _print_tests(quality_rows: Sequence[Row]) -> None:
    cells = []
    for row in quality_rows:
        if row.passed is not None:
            error = (row.passed * (1 - row.passed) / row.tested) ** 0.5
            cells.append((row.group, row.mode, str(row.tested), f"{row.passed:.1%} ± {error:.1%}"))
    terminal.print_table("\nTests", ("kind", "mode", "holes with tests", "pass@1"), cells)
