"""Records to numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fim.evaluation.run import Record


@dataclass(frozen=True, slots=True)
class Row:
    """A group of holes, filled in one mode."""

    group: str
    mode: str
    holes: int
    shown: float
    """Share of holes for which there was a suggestion."""
    exact: float
    """Share filled exactly."""
    exact_error: float
    """One standard error of that."""
    similarity: float
    """Mean."""
    parses: float | None
    """Share of what was shown after which the file parses no worse; None where nobody can tell."""
    p50_ms: float | None
    """Of those whose time counts; None where there are none."""
    p95_ms: float | None
    tested: int
    """Holes whose tests were run."""
    passed: float | None
    """Share of those that pass: pass@1, greedily; None without tests."""


def rows(records: Sequence[Record], group: Callable[[Record], str]) -> list[Row]:
    """Return a row for each group and mode, in the order of their names."""
    keys = sorted({(group(record), record.mode) for record in records})
    return [
        _row(name, mode, [r for r in records if (group(r), r.mode) == (name, mode)])
        for name, mode in keys
    ]


def _row(name: str, mode: str, records: Sequence[Record]) -> Row:
    shown = [record for record in records if record.text.strip()]
    known = [record.parses for record in shown if record.parses is not None]
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
        parses=_mean(known) if known else None,
        p50_ms=percentile(times, 0.5) if times else None,
        p95_ms=percentile(times, 0.95) if times else None,
        tested=len(tests),
        passed=_mean(tests) if tests else None,
    )


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """What a user would get if only suggestions at least this sure were shown."""

    min_confidence: float
    """Confidence, 0 to 1."""
    shown: float
    """Share of all suggestions."""
    precision: float
    """Share of those shown that are exact."""
    recall: float
    """Share of the exact ones that are shown."""
    similarity: float
    """Mean, of those shown."""


_STEPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)


def threshold_rows(records: Sequence[Record]) -> list[ThresholdRow]:
    """Return a row for each threshold at which the pipeline would show anything."""
    made = [r for r in records if r.mode == "pipeline" and r.text.strip()]
    exact = sum(record.exact for record in made)
    found = []
    for least in _STEPS:
        shown = [record for record in made if record.confidence >= least]
        if shown:
            hits = sum(record.exact for record in shown)
            found.append(
                ThresholdRow(
                    min_confidence=least,
                    shown=len(shown) / len(made),
                    precision=hits / len(shown),
                    recall=hits / exact if exact else 0.0,
                    similarity=_mean(record.similarity for record in shown),
                )
            )
    return found


_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Suggestions of one range of confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean."""
    right: float
    """Share whose first line is right."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a confidence of 30 % means that three of ten first lines are right."""

    group: str
    count: int
    error: float
    """Expected calibration error: the bins' mean distance between confidence and share right,
    weighted by their counts (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599)."""
    bins: tuple[Bin, ...]
    """Of equal width; empty ones are left out."""


def calibrations(records: Sequence[Record], group: Callable[[Record], str]) -> list[Calibration]:
    """Return the calibration of what the pipeline showed, by group."""
    made = [record for record in records if record.mode == "pipeline" and record.text.strip()]
    names = sorted({group(record) for record in made})
    return [_calibration(name, [r for r in made if group(r) == name]) for name in names]


def _calibration(name: str, made: Sequence[Record]) -> Calibration:
    by_bin: dict[int, list[Record]] = {}
    for record in made:
        by_bin.setdefault(min(_BINS - 1, int(record.confidence * _BINS)), []).append(record)
    bins = tuple(
        Bin(
            low=index / _BINS,
            high=(index + 1) / _BINS,
            count=len(found),
            confidence=_mean(record.confidence for record in found),
            right=_mean(record.first for record in found),
        )
        for index, found in sorted(by_bin.items())
    )
    error = sum(one.count * abs(one.confidence - one.right) for one in bins) / len(made)
    return Calibration(name, len(made), error, bins)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of ordered values lies: the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
