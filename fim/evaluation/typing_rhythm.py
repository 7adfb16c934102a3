"""Pauses between key presses: recorded ones, or random ones with a realistic distribution.

Pauses are close to log-normal (González et al. 2021, Heliyon 7 (11), e08413). 168,000 people typed
52 words per minute on average, 231 ms per key (Dhakal et al. 2018, CHI). The default median of
150 ms gives 170 ms on average, 70 words per minute. This is a fast typist, so the server has less
time.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ConfigurationError, reason_of

MEDIAN_MS = 150
SPREAD = 0.5
"""Standard deviation of the natural logarithm of a pause."""


def random_rhythm(median_ms: float, seed: int) -> Iterator[float]:
    """Yield random pauses in seconds, without end."""
    rng = random.Random(seed)
    while True:
        yield rng.lognormvariate(0, SPREAD) * median_ms / 1000


def recorded_rhythm(file: Path) -> Iterator[float]:
    """Yield the pauses of a recording in seconds, repeated without end.

    The file is a JSON list of milliseconds. Raises ConfigurationError for any other content.
    """
    try:
        gaps = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {reason_of(error)}.") from None
    is_list = isinstance(gaps, list)
    numbers = [gap for gap in gaps if _is_pause(gap)] if is_list else []
    if not numbers or len(numbers) != len(gaps):
        raise ConfigurationError(
            f"{file} is not a typing rhythm. Use a JSON list of the milliseconds before each key, "
            "such as [140, 95, 310]."
        )
    return _repeated(numbers)


def _is_pause(gap: object) -> bool:
    if isinstance(gap, bool) or not isinstance(gap, int | float):
        return False
    return 0 < gap < math.inf  # the parser accepts NaN and Infinity


def _repeated(milliseconds: list[float]) -> Iterator[float]:
    while True:
        for gap in milliseconds:
            yield gap / 1000
