"""Tables of an evaluation, computed from its records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fim.evaluation.run import Record


@dataclass(frozen=True, slots=True)
class Row:
    """Results of a group of holes in one mode."""

    group: str
    mode: str
    holes: int
    shown: float
    """Share of holes with a suggestion."""
    exact: float
    """Share of holes that were filled exactly."""
    exact_error: float
    """Standard error of `exact`."""
    similarity: float
    """Mean similarity to the original text."""
    parses: float | None
    """Share of the suggestions that added no syntax error; None without a grammar."""
    p50_ms: float | None
    """Median time in milliseconds; None without timed holes."""
    p95_ms: float | None
    """95th percentile of the time in milliseconds; None without timed holes."""
    tested: int
    """Number of holes whose tests were run."""
    passed: float | None
    """Share of these holes that pass their tests: pass@1, greedily; None without tests."""


def rows(records: Sequence[Record], group: Callable[[Record], str]) -> list[Row]:
    """Return a row for each group and mode, sorted by name."""
    keys = sorted({(group(record), record.mode) for record in records})
    return [
        _row(name, mode, [r for r in records if (group(r), r.mode) == (name, mode)])
        for name, mode in keys
    ]


def _row(name: str, mode: str, records: Sequence[Record]) -> Row:
    shown = [record for record in records if record.text.strip()]
    parses = [record.parses for record in shown if record.parses is not None]
    exact = _mean(record.exact for record in records)
    times = sorted(record.milliseconds for record in records if record.timed)
    tests = [record.passed for record in records if record.passed is not None]
    return Row(
        group=name,
        mode=mode,
        holes=len(records),
        shown=len(shown) / len(records),
        exact=exact,
        exact_error=math.sqrt(exact * (1 - exact) / len(records)),
        similarity=_mean(record.similarity for record in records),
        parses=_mean(parses) if parses else None,
        p50_ms=percentile(times, 0.5) if times else None,
        p95_ms=percentile(times, 0.95) if times else None,
        tested=len(tests),
        passed=_mean(tests) if tests else None,
    )


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """Results if only suggestions with a minimum confidence were shown."""

    min_confidence: float
    """Minimum confidence, 0 to 1."""
    shown: float
    """Share of all suggestions that are shown."""
    precision: float
    """Share of the shown suggestions that are exact."""
    recall: float
    """Share of the exact suggestions that are shown."""
    similarity: float
    """Mean similarity of the shown suggestions."""


_THRESHOLDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)


def threshold_rows(records: Sequence[Record]) -> list[ThresholdRow]:
    """Return a row for each threshold at which the pipeline would show a suggestion."""
    suggested = [record for record in records if _is_suggestion(record)]
    num_exact = sum(record.exact for record in suggested)
    table = []
    for threshold in _THRESHOLDS:
        shown = [record for record in suggested if record.confidence >= threshold]
        if shown:
            num_hits = sum(record.exact for record in shown)
            table.append(
                ThresholdRow(
                    min_confidence=threshold,
                    shown=len(shown) / len(suggested),
                    precision=num_hits / len(shown),
                    recall=num_hits / num_exact if num_exact else 0.0,
                    similarity=_mean(record.similarity for record in shown),
                )
            )
    return table


_NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Suggestions within one range of confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence."""
    right: float
    """Share of the suggestions whose first line is correct."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration: at a confidence of 30 %, three of ten first lines should be correct."""

    group: str
    count: int
    error: float
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599).

    It is the mean difference between the confidence and the share of correct first lines in a bin,
    weighted by the number of suggestions in the bin.
    """
    bins: tuple[Bin, ...]
    """Bins of equal width, without the empty ones."""


def calibrations(records: Sequence[Record], group: Callable[[Record], str]) -> list[Calibration]:
    """Return the calibration of the suggestions of the pipeline, by group."""
    suggested = [record for record in records if _is_suggestion(record)]
    names = sorted({group(record) for record in suggested})
    return [_calibration(name, [r for r in suggested if group(r) == name]) for name in names]


def _is_suggestion(record: Record) -> bool:
    return record.mode == "pipeline" and bool(record.text.strip())


def _calibration(name: str, records: Sequence[Record]) -> Calibration:
    by_bin: dict[int, list[Record]] = {}
    for record in records:
        by_bin.setdefault(min(_NUM_BINS - 1, int(record.confidence * _NUM_BINS)), []).append(record)
    bins = tuple(
        Bin(
            low=index / _NUM_BINS,
            high=(index + 1) / _NUM_BINS,
            count=len(bin_records),
            confidence=_mean(record.confidence for record in bin_records),
            right=_mean(record.first for record in bin_records),
        )
        for index, bin_records in sorted(by_bin.items())
    )
    error = sum(bin_.count * abs(bin_.confidence - bin_.right) for bin_ in bins) / len(records)
    return Calibration(name, len(records), error, bins)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return a percentile of ordered values by the nearest rank; `share` is 0 to 1."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
