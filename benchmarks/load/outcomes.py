"""What became of each request, and what follows from many of them.

A request that the user gives up shows only that its answer would have taken longer. Without these
requests the percentiles of a slow server would look good, because only its fast answers would
count. So the times are a survival curve with censored observations (Kaplan and Meier 1958, Journal
of the American Statistical Association 53, pages 457-481).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a request is for."""

    COMPLETION = "completion"
    PREFETCH = "prefetch"
    CHAT = "chat"
    FLOOD = "flood"


class Fate(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    CANCELLED = "cancelled"
    """The user needed no answer any more, and closed the connection."""
    REFUSED = "refused"
    """The server answered with an error status."""
    UNANSWERED = "unanswered"
    """The connection broke, the output stopped in the middle, or nothing came in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as its user saw it."""

    user: str
    kind: Kind
    fate: Fate
    started: float
    """Time of the request, in seconds of `time.perf_counter`."""
    seconds: float
    """Seconds from the request to its end, whatever the end is."""
    first_s: float | None = None
    """Seconds to the first token; None if there was none."""
    status: int = 0
    """HTTP status; 0 if no response arrived."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    """Prompt tokens that the server took from its prefix cache, if it says so."""
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Times:
    """Percentiles of a time in milliseconds; infinite if too few requests came so far."""

    p50: float
    p95: float
    p99: float


def times_to_answer(outcomes: Iterable[Outcome]) -> Times:
    """Return the percentiles of the time to the whole answer."""
    return _times([(each.seconds, each.fate is Fate.ANSWERED) for each in _counting(outcomes)])


def times_to_first_token(outcomes: Iterable[Outcome]) -> Times:
    """Return the percentiles of the time to the first token."""
    observed = [
        (each.seconds, False) if each.first_s is None else (each.first_s, True)
        for each in _counting(outcomes)
    ]
    return _times(observed)


def _counting(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes that say something about a time. A refusal takes no time, but it is no
    answer either: `Counts` has it."""
    return [each for each in outcomes if each.fate is not Fate.REFUSED]


def _times(observed: Sequence[tuple[float, bool]]) -> Times:
    return Times(*(1000 * censored_percentile(observed, share) for share in (0.5, 0.95, 0.99)))


def censored_percentile(observed: Iterable[tuple[float, bool]], share: float) -> float:
    """Return the time within which this share of events happens; `share` is 0 to 1.

    Each observation is a time, and whether the event happened then. If not, the observation ended
    before the event. The result is infinite if the observations end too early.
    """
    ordered = sorted(observed, key=lambda pair: (pair[0], not pair[1]))
    surviving, num_left = 1.0, len(ordered)
    for seconds, happened in ordered:
        if happened:
            surviving *= 1 - 1 / num_left
            if surviving <= 1 - share + 1e-9:
                return seconds
        num_left -= 1
    return math.inf


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests had which fate."""

    sent: int
    answered: int
    cancelled: int
    refused: int
    unanswered: int
    output_tokens: int
    prompt_tokens: int
    """Prompt tokens of the answered requests."""
    reused_tokens: int


def count(outcomes: Iterable[Outcome]) -> Counts:
    """Count the fates and tokens of requests."""
    all_outcomes = list(outcomes)
    fates = Counter(outcome.fate for outcome in all_outcomes)
    return Counts(
        sent=len(all_outcomes),
        **{fate.value: fates[fate] for fate in Fate},
        output_tokens=sum(outcome.output_tokens for outcome in all_outcomes),
        prompt_tokens=sum(outcome.prompt_tokens for outcome in all_outcomes),
        reused_tokens=sum(outcome.reused_tokens for outcome in all_outcomes),
    )


_MIN_ANSWERS = 10
"""Minimum number of answers of a user whose percentile is compared with that of others."""


def p95_by_user(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Return each user's 95th percentile of the time to an answer, in milliseconds.

    Users with few answers are left out, unless they have few because they were hardly served.
    """
    by_user: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_user[outcome.user].append(outcome)
    return {
        user: times_to_answer(own).p95 for user, own in by_user.items() if len(own) >= _MIN_ANSWERS
    }


def unfairness(p95: Mapping[str, float]) -> float | None:
    """Return how many times as long the worst served user waits as the best served one."""
    if len(p95) < 2:
        return None
    worst, best = max(p95.values()), min(p95.values())
    return math.inf if math.isinf(worst) else worst / best


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """Return how much a quantity grew from the second quarter of its samples to the last one.

    Samples are pairs of seconds and value, in order. The first quarter warms up. The result is a
    share of the earlier median.
    """
    quarter = len(samples) // 4
    if quarter == 0:
        return 0.0
    early = statistics.median(value for _, value in samples[quarter : 2 * quarter])
    late = statistics.median(value for _, value in samples[-quarter:])
    return late / early - 1
