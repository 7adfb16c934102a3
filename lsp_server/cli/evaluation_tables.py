"""The tables of `starcoder-lsp eval`: printed, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fim.evaluation.files import Sample
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
from lsp_server.cli.added_lines import DIFFERENCE, ONLY_RANDOM


def report_json(records: Sequence[Record]) -> dict[str, Any]:
    """Return the tables as JSON; those of added lines, if there are any, are in `added`."""
    by_sample = _by_sample(records)
    added = by_sample.pop(Sample.ADDED, None)
    random_tables = _tables_json(by_sample.get(Sample.RANDOM, ()))
    return random_tables if added is None else {**random_tables, "added": _tables_json(added)}


def _tables_json(records: Sequence[Record]) -> dict[str, Any]:
    groups = {"kind": lambda r: r.kind, "language": lambda r: r.language}
    return {
        **{name: [asdict(row) for row in rows(records, group)] for name, group in groups.items()},
        "calibration": [asdict(calibration) for calibration in _calibrations(records)],
        "thresholds": [asdict(row) for row in threshold_rows(records)],
    }


def _by_sample(records: Sequence[Record]) -> dict[Sample, list[Record]]:
    """Return the records of each kind of lines."""
    by_sample: dict[Sample, list[Record]] = {}
    for record in records:
        by_sample.setdefault(Sample(record.sample), []).append(record)
    return by_sample


def headline(records: Sequence[Record]) -> Sequence[Record]:
    """Return the records that count most: those of added lines, or all if there are none."""
    return _by_sample(records).get(Sample.ADDED, records)


def _calibrations(records: Sequence[Record]) -> list[Calibration]:
    """Return the calibration of all records, and if there are several languages, of each."""
    by_language = calibrations(records, lambda record: record.language)
    return [*calibrations(records, lambda _: "all"), *(by_language if len(by_language) > 1 else ())]


def print_tables(records: Sequence[Record], model: str, *, has_project: bool = False) -> None:
    """Print quality by kind and language, calibration and thresholds; `model` heads them.

    `has_project` is whether the pipeline could use the text of a project. With added lines, all but
    the first table are about these alone.
    """
    samples = _by_sample(records)
    _print_quality(f"{model}, by kind", "kind", samples, lambda record: record.kind)
    if has_project:
        terminal.print_line(DIFFERENCE if Sample.ADDED in samples else ONLY_RANDOM)
    if any(record.passed is not None for record in records):
        _print_tests(rows(records, lambda record: record.kind))
    counted = headline(records)
    lines = ", added lines" if len(samples) > 1 else ""
    if len({record.language for record in counted}) > 1:
        only = {Sample(record.sample): counted for record in counted}
        _print_quality(f"{model}, by language{lines}", "language", only, lambda r: r.language)
    for calibration in _calibrations(counted):
        _print_calibration(calibration, lines)
    _print_thresholds(threshold_rows(counted), lines)
    terminal.print_line("docs/evaluation.md explains the columns.", style="dim")


def _print_calibration(calibration: Calibration, lines: str) -> None:
    title = f"\nCalibration, {calibration.group}{lines}"
    terminal.print_table(
        f"{title}: error {calibration.error:.1%} of {calibration.count} suggestions",
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
        empty=f"{title}: there are no suggestions.",
    )


def _print_thresholds(thresholds: Sequence[ThresholdRow], lines: str) -> None:
    terminal.print_table(
        f"\nIf only suggestions of at least this confidence were shown{lines}",
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


def _print_quality(
    title: str,
    group: str,
    samples: Mapping[Sample, Sequence[Record]],
    group_of: Callable[[Record], str],
) -> None:
    """Print the quality of each group; of several kinds of lines next to each other."""
    columns = ["mode", "holes", "shown", "exact", "similar", "parses", "p50 ms", "p95 ms"]
    has_several = len(samples) > 1
    cells = [
        (row.group, *([sample] if has_several else ()), *_quality_cells(row))
        for sample, records in sorted(samples.items(), reverse=True)
        for row in rows(records, group_of)
    ]
    if has_several:
        columns.insert(0, "lines")
        cells.sort(key=lambda row: (row[0], row[2]))
    terminal.print_table(f"\n{title}", (group, *columns), cells)


def _quality_cells(row: Row) -> tuple[str, ...]:
    return (
        row.mode,
        str(row.holes),
        f"{row.shown:.0%}",
        f"{row.exact:.1%} ± {row.exact_error:.1%}",
        f"{row.similarity:.2f}",
        "" if row.parses is None else f"{row.parses:.0%}",
        _milliseconds(row.p50_ms),
        _milliseconds(row.p95_ms),
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
