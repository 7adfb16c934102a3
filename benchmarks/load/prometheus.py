"""Whether our server's metrics agree with what its users counted.

A user who gives a request up does not know how far it was: the server may have finished it already,
or may never have seen it. So such requests count as either, and every other one exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load.outcomes import Fate, Outcome

_REQUESTS = "starcoder_http_requests_total"
_ROUTE = "/v1/completions"
_IDLE = ("starcoder_num_requests_running", "starcoder_num_requests_waiting")
"""Names of metrics that are 0 after all users have gone."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The values of metrics at one moment, those of the route for completions only."""

    by_end: Mapping[str, float]
    """Requests by the way in which they ended."""
    values: Mapping[str, float]
    """All other metrics by name, without labels."""

    def __getitem__(self, name: str) -> float:
        """Return a value, 0 before its first observation."""
        return self.values.get(name, 0.0)


def read_samples(text: str) -> Samples:
    """Read metrics in Prometheus' text format."""
    by_end, values = defaultdict[str, float](float), dict[str, float]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("route", _ROUTE) != _ROUTE or "le" in sample.labels:
                continue
            if sample.name == _REQUESTS:
                by_end[sample.labels["end"]] += sample.value
            else:
                values[sample.name] = sample.value
    return Samples(by_end, values)


@dataclass(frozen=True, slots=True)
class _Range:
    """What a metric may have grown by."""

    name: str
    grown: float
    least: float
    most: float = float("inf")

    def problem(self) -> str | None:
        """Return what is wrong, None if nothing is."""
        if self.least <= self.grown <= self.most:
            return None
        bounds = f"at least {self.least:.0f}"
        if self.most != float("inf"):
            bounds += f" and at most {self.most:.0f}"
        return f"{self.name} grew by {self.grown:.0f}; the users counted {bounds}."


def disagreements(before: str, after: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Return in which figures the metrics of our server differ from the users' counts."""
    if not after:
        return ["The server has no metrics."]
    start, end = read_samples(before), read_samples(after)
    problems = [each.problem() for each in _ranges(start, end, outcomes)]
    idle = [f"{name} is {end[name]:.0f} afterwards." for name in _IDLE if end[name]]
    return [*(problem for problem in problems if problem is not None), *idle]


def _ranges(start: Samples, end: Samples, outcomes: Sequence[Outcome]) -> list[_Range]:
    """Return how much each metric grew, and the bounds that follow from the users' counts."""
    fates = Counter(outcome.fate for outcome in outcomes)
    unclear = fates[Fate.CANCELLED] + fates[Fate.UNANSWERED]
    answered = [outcome for outcome in outcomes if outcome.fate is Fate.ANSWERED]
    with_token = sum(outcome.first_s is not None for outcome in answered)

    def ended(*ends: str) -> float:
        return sum(end.by_end.get(each, 0) - start.by_end.get(each, 0) for each in ends)

    def exact(name: str, grown: float, counted: int) -> _Range:
        return _Range(name, grown, counted, counted + unclear)

    def at_least(name: str, counted: int) -> _Range:
        return _Range(name, end[name] - start[name], counted)

    total = ended(*(end.by_end.keys() | start.by_end.keys()))
    latency = "starcoder_e2e_request_latency_seconds_count"
    first_token = "starcoder_time_to_first_token_seconds_count"
    return [
        _Range("requests", total, len(outcomes) - unclear, len(outcomes)),
        exact("finished requests", ended("finished"), len(answered)),
        exact("refused and failed requests", ended("refused", "failed"), fates[Fate.REFUSED]),
        _Range("cancelled requests", ended("cancelled"), 0, unclear),
        _Range(latency, end[latency] - start[latency], total, total),
        exact(first_token, end[first_token] - start[first_token], with_token),
        at_least("starcoder_prompt_tokens_total", sum(each.prompt_tokens for each in answered)),
        at_least("starcoder_generation_tokens_total", sum(each.output_tokens for each in answered)),
        at_least("starcoder_prefix_cache_hits_total", sum(each.reused_tokens for each in answered)),
    ]
