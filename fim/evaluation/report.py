"""Records to numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fim.evaluation.run import Record


@dataclass(frozen=True, slots=True)
class Row:
    """A group of holes, filled in one way."""

    group: str
    way: str
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
    p50_ms: float
    p95_ms: float


def rows(records: Sequence[Record], group: Callable[[Record], str]) -> list[Row]:
    """Return a row for each group and way, in the order of their names."""
    keys = sorted({(group(record), record.way) for record in records})
    return [
        _row(name, way, [r for r in records if (group(r), r.way) == (name, way)])
        for name, way in keys
    ]


def _row(name: str, way: str, records: Sequence[Record]) -> Row:
    shown = [record for record in records if record.text.strip()]
    known = [record.parses for record in shown if record.parses is not None]
    exact = _mean(record.exact for record in records)
    times = sorted(record.milliseconds for record in records)
    return Row(
        group=name,
        way=way,
        holes=len(records),
        shown=len(shown) / len(records),
        exact=exact,
        exact_error=math.sqrt(exact * (1 - exact) / len(records)),
        similarity=_mean(record.similarity for record in records),
        parses=_mean(known) if known else None,
        p50_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
    )


@dataclass(frozen=True, slots=True)
class Certainty:
    """What a user would get if only suggestions at least this sure were shown."""

    least: float
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


def certainties(records: Sequence[Record]) -> list[Certainty]:
    """Return a row for each threshold at which the pipeline would show anything."""
    made = [r for r in records if r.way == "pipeline" and r.text.strip()]
    exact = sum(record.exact for record in made)
    found = []
    for least in _STEPS:
        shown = [record for record in made if record.confidence >= least]
        if shown:
            hits = sum(record.exact for record in shown)
            found.append(
                Certainty(
                    least=least,
                    shown=len(shown) / len(made),
                    precision=hits / len(shown),
                    recall=hits / exact if exact else 0.0,
                    similarity=_mean(record.similarity for record in shown),
                )
            )
    return found


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of ordered values lies: the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
