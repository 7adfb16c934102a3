"""The queueing model compared with a measured load of this machine.

The time of a step is measured here. What a request costs once (new prompt tokens, HTTP) follows
from the measurement with the fewest users: it is the processor time of the server per request,
without the decoding. The model then predicts the other numbers of users.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.capacity.inputs import OUTPUT
from benchmarks.capacity.queueing import Costs, p95_s

_PROMPT, _BATCHES, _STEPS = 512, (1, 16), 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of users: the model's 95th percentile and the measured one, in milliseconds."""

    users: int
    rate: float
    """Requests per second."""
    predicted_ms: float
    measured_ms: float


def compare(
    rows: Sequence[Mapping[str, Any]], first_s: float, further_s: float
) -> list[Comparison]:
    """Return the comparison for all measurements of our server, as `benchmarks.load` writes them.

    Raises ValueError if there is none.
    """
    own = sorted(
        (row for row in rows if row["server"] == "serve" and not row["flood"]),
        key=lambda row: int(row["typists"]),
    )
    if not own:
        raise ValueError("The file has no measurement of serve without a flood.")
    prompt_s = _once_s(own[0], first_s)
    costs = Costs(prompt_s, first_s, further_s)
    return [
        Comparison(
            row["typists"],
            _rate(row),
            1000 * p95_s(costs, OUTPUT, _rate(row)),
            row["suggestion"]["p95"],
        )
        for row in own
    ]


def _rate(row: Mapping[str, Any]) -> float:
    return float(row["honest"]["sent"] / row["seconds"])


def _once_s(row: Mapping[str, Any], first_s: float) -> float:
    """Return what a request costs once, in seconds."""
    per_request_s = row["server_cores"] / _rate(row)
    tokens = row["honest"]["output_tokens"] / row["honest"]["sent"]
    return float(max(0.0, per_request_s - tokens * first_s))


def step_costs(model: str) -> tuple[float, float]:
    """Measure the seconds of a decoding step of one sequence, and those of each further one."""
    import torch

    from benchmarks.common import load_ours
    from benchmarks.stepped_scheduler import new_cache
    from engine.network.batch import BatchEntry

    loaded = load_ours(model, "auto")
    medians = []
    with torch.inference_mode():
        caches = [new_cache(loaded) for _ in range(max(_BATCHES))]
        prompt = tuple(range(100, 100 + _PROMPT))
        for cache in caches:
            loaded.forward([BatchEntry(prompt, cache)])
            cache.commit(prompt)
        for batch in _BATCHES:
            seconds = []
            for _ in range(_STEPS):
                started = time.perf_counter()
                loaded.forward([BatchEntry((100,), cache) for cache in caches[:batch]])
                seconds.append(time.perf_counter() - started)
            medians.append(statistics.median(seconds))
    single, largest = medians
    return single, (largest - single) / (max(_BATCHES) - 1)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the measurements in a file that `benchmarks.load --json` wrote."""
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["measurements"]
    return rows
