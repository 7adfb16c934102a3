"""Estimated probability that a continuation from the project's text is right."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Support:
    """The evidence that a continuation is right."""

    match_length: int
    """Length of the longest match after which the continuation occurs."""
    agreeing: int
    """Number of places with this continuation."""
    rivals: int
    """Number of places with another continuation after a match of at least this length."""
    disagreeing: int
    """Number of all places with another continuation."""
    length: int
    """Number of characters of the continuation, up to the end of its first line."""
    has_whole_line: bool
    """Whether the longest match contains the cursor's line up to the cursor."""
    joins: bool
    """Whether the text after the continuation is also the text below the cursor."""


def features(support: Support) -> tuple[float, ...]:
    """Return the numbers from which the probability is estimated."""
    return (
        1.0,
        math.log2(1 + min(support.match_length, 256)),
        math.log2(1 + min(support.agreeing, 64)),
        math.log2(1 + min(support.rivals, 64)),
        math.log2(1 + min(support.disagreeing, 64)),
        math.log2(1 + support.length),
        float(support.has_whole_line),
        float(support.joins),
        float(support.rivals == 0),
    )


_WEIGHTS = (-2.84, 0.51, 0.71, -0.32, -0.2, -0.56, 0.39, 1.84, 1.29)
"""Weights of `features`: a logistic regression over 3,500 places in seven packages, half of them in
lines that the newer of two releases added (`python -m benchmarks.memory_candidates`).
"""


def sigmoid(value: float) -> float:
    """Return the probability with the log-odds `value`."""
    return 1 / (1 + math.exp(-value))


def probability(support: Support) -> float:
    """Return the estimated probability that a continuation is right, 0 to 1."""
    return sigmoid(sum(map(math.prod, zip(_WEIGHTS, features(support), strict=True))))
