"""When keys are pressed: a recording of somebody's typing, or gaps random_rhythm as people's are.

Gaps between keys are close to log-normal (González et al. 2021, Heliyon 7 (11), e08413). 168,000
people wrote 52 words a minute on average, 231 ms a key (Dhakal et al. 2018, CHI). The median of
150 ms that is the default makes 170 ms on average, 70 words a minute: a quick typist, who leaves a
server less time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ConfigurationError

MEDIAN_MS = 150
SPREAD = 0.5
"""Standard deviation of the gaps' logarithm."""


def random_rhythm(median_ms: float, seed: int) -> Iterator[float]:
    """Yield gaps in seconds, without end."""
    rng = random.Random(seed)
    while True:
        yield rng.lognormvariate(0, SPREAD) * median_ms / 1000


def recorded_rhythm(file: Path) -> Iterator[float]:
    """Yield the gaps of a recording in seconds, over and over: a JSON list of milliseconds.

    Raises ConfigurationError for a file that holds none.
    """
    try:
        gaps = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    numbers = [gap for gap in gaps if isinstance(gap, int | float) and gap > 0] if gaps else []
    if not isinstance(gaps, list) or not numbers or len(numbers) != len(gaps):
        raise ConfigurationError(
            f"{file} is no rhythm: a JSON list of the milliseconds before each key is wanted, "
            "such as [140, 95, 310]."
        )
    return _over_and_over(numbers)


def _over_and_over(milliseconds: list[float]) -> Iterator[float]:
    while True:
        for gap in milliseconds:
            yield gap / 1000
