"""Figures of a measurement, and the paired comparison of two variants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.project_memory.measuring import Row
from fim.evaluation.report import calibrations, percentile
from fim.evaluation.run import Record


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one variant on one kind of lines; shares are 0 to 1."""

    holes: int
    exact: float
    exact_error: float
    """Standard error of `exact`, as if the holes were independent."""
    shown: float
    """Share of the holes with a suggestion."""
    parses: float
    """Share of the suggestions that added no syntax error."""
    calibration: float
    """Expected calibration error."""
    duplicated: int
    """Number of wrong suggestions that repeat text or double a bracket."""
    steps_per_token: float
    """Forward passes, including those of the prefill, for each generated token."""
    decoding_per_token: float
    """Forward passes without one for each hole, the least that a prefill needs."""
    p50_ms: float
    p95_ms: float


def summarize(rows: Sequence[Row]) -> Summary:
    """Return the figures of at least one row."""
    shown = [row for row in rows if row.text.strip()]
    parses = [row.parses for row in shown if row.parses is not None]
    times = sorted(row.milliseconds for row in rows if row.timed) or [math.nan]
    tokens = sum(row.tokens for row in rows)
    decoding = sum(max(0, row.steps - 1) for row in rows)
    exact = sum(row.exact for row in rows) / len(rows)
    return Summary(
        holes=len(rows),
        exact=exact,
        exact_error=math.sqrt(exact * (1 - exact) / len(rows)),
        shown=len(shown) / len(rows),
        parses=_share(sum(parses), len(parses)),
        calibration=_calibration(shown),
        duplicated=sum(row.duplicated for row in rows),
        steps_per_token=_share(sum(row.steps for row in rows), tokens),
        decoding_per_token=_share(decoding, tokens),
        p50_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _calibration(shown: Sequence[Row]) -> float:
    records = [
        Record(
            name=row.name,
            language="python",
            kind="line",
            mode="pipeline",
            text=row.text,
            exact=row.exact,
            similarity=0.0,
            parses=row.parses,
            milliseconds=row.milliseconds,
            confidence=row.confidence,
            first=row.first,
        )
        for row in shown
    ]
    return next((each.error for each in calibrations(records, lambda _: "")), math.nan)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Exact fillings of two variants on the same holes."""

    holes: int
    gained: int
    """Holes that only the second variant fills exactly."""
    lost: int
    """Holes that only the first variant fills exactly."""
    difference: float
    """Difference of the shares of exact fillings."""
    error: float
    """Standard error of the difference."""
    p_value: float
    """McNemar's exact test, two-sided."""


def compare(first: Sequence[Row], second: Sequence[Row]) -> Comparison:
    """Compare two variants on the holes that both have filled, at least one."""
    exact = {row.name: row.exact for row in first}
    pairs = [(exact[row.name], row.exact) for row in second if row.name in exact]
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    count = len(pairs)
    variance = (gained + lost) / count - ((gained - lost) / count) ** 2
    return Comparison(
        holes=count,
        gained=gained,
        lost=lost,
        difference=(gained - lost) / count,
        error=math.sqrt(variance / count),
        p_value=_mcnemar(gained, lost),
    )


def _mcnemar(gained: int, lost: int) -> float:
    """Return the probability of a split at least as uneven if both directions are as likely."""
    total = gained + lost
    tail = sum(math.comb(total, index) for index in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / float(2**total))
