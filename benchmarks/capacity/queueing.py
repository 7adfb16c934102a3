"""A queueing model of one engine: how long requests take at a given rate.

An engine computes prompts one after the other, and the next tokens of all running requests
together. So it is two queues that share one processor:

- **Prompts** are served one at a time, with a step for the others after each. With a rate of r
  requests per second and p seconds for both, they take the share r p of the time. The time
  for which one waits has an exponential tail: P(W > t) = r p exp(-(1 - r p) t / p), as in M/M/1
  (Kleinrock 1975, "Queueing Systems", volume 1).
- **Decoding**: a step for b requests takes s(b) = first + (b - 1) further. While n tokens are
  decoded, prompts of others take their share, so that n s(b) / (1 - r prompt) passes. With Little's
  law, b is r times this time. The equation is linear in b, and its solution is the mean number of
  requests that decode together.

What one request sees at a bad moment is computed from the 95th percentile of each part: the output
length, and Poisson distributions of b (as with infinitely many servers) and of the prompts that
come while it decodes. A test compares the result with a simulation of the engine's steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_PERCENTILE = 0.95


@dataclass(frozen=True, slots=True)
class Costs:
    """What a request costs an engine, in seconds."""

    prompt_s: float
    """Time for the new tokens of a prompt, and all else that a request costs once."""
    first_s: float
    """Time of a step that computes the next token of one request."""
    further_s: float
    """Time that each further request adds to a step."""
    max_batch: int = 16
    """Maximum number of completions that decode together (`engine.scheduling.waiting_jobs`)."""

    def step_s(self, batch: float) -> float:
        """Return the time of a step for this many requests."""
        return self.first_s + max(0.0, batch - 1) * self.further_s


@dataclass(frozen=True, slots=True)
class Output:
    """Length of the outputs in tokens."""

    mean: float
    p95: float


def saturation(costs: Costs, output: Output) -> float:
    """Return the requests per second with which an engine is busy all the time."""
    per_token_s = costs.step_s(costs.max_batch) / costs.max_batch
    return 1 / (costs.prompt_s + output.mean * per_token_s)


def batch_size(costs: Costs, output: Output, rate: float) -> float:
    """Return the mean number of requests that decode together, infinite beyond the saturation."""
    share = rate * costs.prompt_s
    if share >= 1:
        return math.inf
    tokens = rate * output.mean / (1 - share)
    if tokens * costs.further_s >= 1:
        return math.inf
    batch = tokens * (costs.first_s - costs.further_s) / (1 - tokens * costs.further_s)
    # Below one request a step is not shared, and its time does not depend on the batch.
    return batch if batch > 1 else tokens * costs.first_s


def p95_s(costs: Costs, output: Output, rate: float) -> float:
    """Return the 95th percentile of the time to a whole answer, infinite beyond the saturation."""
    batch = batch_size(costs, output, rate)
    if batch >= costs.max_batch:
        return math.inf
    # Between two prompts the engine computes a step, if anything decodes.
    slot_s = costs.prompt_s + costs.step_s(batch) * (1 - math.exp(-batch))
    share = rate * slot_s
    if share >= 1:
        return math.inf
    waiting_s = 0.0
    if share > 1 - _PERCENTILE:
        waiting_s = math.log(share / (1 - _PERCENTILE)) * slot_s / (1 - share)
    others = poisson_percentile(batch, _PERCENTILE)
    step_s = costs.step_s(min(costs.max_batch, 1 + others))
    step_in_progress_s = step_s / 2 if others else 0.0
    return (
        waiting_s + step_in_progress_s + costs.prompt_s + _decoding_s(costs, output, rate, step_s)
    )


def _decoding_s(costs: Costs, output: Output, rate: float, step_s: float) -> float:
    """Return the time for a long output, with the prompts of others that come in between.

    At most one prompt is computed after each step. The longer it takes, the more prompts come.
    """
    steps_s = seconds = output.p95 * step_s
    while True:
        prompts = min(output.p95, poisson_percentile(rate * seconds, _PERCENTILE))
        longer = steps_s + prompts * costs.prompt_s
        if longer <= seconds:
            return seconds
        seconds = longer


def poisson_percentile(mean: float, share: float) -> int:
    """Return the smallest number that a Poisson variable exceeds with at most `1 - share`."""
    number, probability = 0, math.exp(-mean)
    total = probability
    while total < share:
        number += 1
        probability *= mean / number
        total += probability
    return number


def rate_within(costs: Costs, output: Output, seconds: float) -> float:
    """Return the largest rate at which 95 % of the answers take at most this time; 0 if none."""
    if p95_s(costs, output, 0.0) > seconds:
        return 0.0
    low, high = 0.0, saturation(costs, output)
    for _ in range(60):
        middle = (low + high) / 2
        if p95_s(costs, output, middle) <= seconds:
            low = middle
        else:
            high = middle
    return low
