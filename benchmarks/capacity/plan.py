"""Cards, cost and power for a number of programmers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from benchmarks.capacity.inputs import (
    CARD_USD_PER_HOUR,
    CARD_WATTS,
    MISS_SHARE,
    OUTPUT,
    USD_PER_KWH,
    Demand,
    Model,
)
from benchmarks.capacity.queueing import Costs, Output, rate_within

_HOURS_PER_MONTH = 365.25 / 12 * 24
_SPARE_SHARE = 0.1
"""Cards in addition, as a share: for failures, updates and uneven routing. At least one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a number of programmers needs with one model."""

    model: Model
    programmers: int
    peak_rate: float
    """Requests per second of all programmers in the busiest minutes."""
    rate_per_card: float
    """Requests per second of a card with 95 % of the answers in time; 0 if it is never in time."""
    cards: int
    """Cards with the spare ones; 0 if no number of cards is enough."""
    usd_per_programmer: float
    """Price of the cards per programmer and month, always on."""
    kwh_usd_per_programmer: float
    """Price of their electricity per programmer and month at full power."""
    programmers_per_card: float
    """Programmers of one card, spare cards included."""


def with_misses(costs: Costs, miss_s: float, share: float) -> Costs:
    """Return the costs if this share of the requests finds nothing in the prefix cache."""
    return replace(costs, prompt_s=costs.prompt_s + share * miss_s)


def plan(
    model: Model,
    demand: Demand,
    programmers: int,
    *,
    output: Output = OUTPUT,
    miss_share: float = MISS_SHARE,
    card_usd: float = CARD_USD_PER_HOUR,
) -> Plan:
    """Return the plan. `miss_share` is the share of requests whose prompt must be computed whole:
    a file that has just been opened."""
    costs = with_misses(model.costs, model.miss_s, miss_share)
    per_card = rate_within(costs, output, model.target_s)
    peak_rate = programmers * demand.peak_rate
    cards = 0
    if per_card > 0:
        needed = math.ceil(peak_rate / per_card - 1e-9)
        cards = needed + max(1, math.ceil(needed * _SPARE_SHARE))
    monthly = cards * _HOURS_PER_MONTH / programmers
    return Plan(
        model,
        programmers,
        peak_rate,
        per_card,
        cards,
        usd_per_programmer=monthly * card_usd,
        kwh_usd_per_programmer=monthly * CARD_WATTS / 1000 * USD_PER_KWH,
        programmers_per_card=programmers / cards if cards else 0.0,
    )


def random_routing_miss_share(replicas: int, miss_share: float) -> float:
    """Return the share of misses if each request goes to any replica.

    The prompt of a user's previous request is on one of them. Older prompts of the same user on the
    others are assumed to help nothing, which is the worst case.
    """
    return 1 - (1 - miss_share) / replicas
