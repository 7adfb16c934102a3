"""What the capacity plan starts from, each with its source. Assumptions are marked as such.

Times of a card are those of docs/gpu.md: one NVIDIA H100 80GB HBM3, one sequence per step unless
said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.capacity.queueing import Costs, Output


@dataclass(frozen=True, slots=True)
class Demand:
    """What one programmer asks for."""

    name: str
    peak_rate: float
    """Requests per second and programmer in the busiest minutes."""
    source: str


KEYS_PER_DAY = 8_000
"""Keys that a programmer presses in an editor per workday. Assumption: 5 % of the time in an IDE is
editing (Minelli, Mocci and Lanza 2015, ICPC, pages 25-35), which is 24 minutes of eight hours, at
the 170 ms per key of `fim.evaluation.typing_rhythm`."""
REQUESTS_PER_KEY = 0.46
"""Requests to the engine per key, prefetches included, in the recording of `benchmarks.load`."""
WORKDAY_S = 8 * 3600.0
PEAK_TO_MEAN = 1.73
"""The busiest minutes divided by the mean. GitHub Copilot: a peak of 8,000 requests per second with
400 million per day (Cheney 2024, infoq.com/presentations/github-copilot)."""
SUBSCRIBERS = 1_800_000
"""Paying users of that service in 2024, of whom not all work at a time. Estimate: Microsoft
reported 1.3 million in January 2024."""
PUBLISHED_PEAK = 8_000 / SUBSCRIBERS

DEMANDS = (
    Demand("low", PUBLISHED_PEAK, "8,000 requests per second for all subscribers"),
    Demand(
        "high",
        KEYS_PER_DAY * REQUESTS_PER_KEY / WORKDAY_S * PEAK_TO_MEAN,
        "8,000 keys per day, 46 requests per 100 keys, peak 1.73 times the mean",
    ),
)

OUTPUT = Output(mean=15, p95=57)
"""Output tokens that the completer reads, in the recording of `benchmarks.load` (demo model)."""
MISS_SHARE = 0.06
"""Share of the requests of that recording of which more than 200 prompt tokens are new: another
file, or the window has moved. Larger windows move less often."""
REQUESTS_PER_TYPIST = 1.64
"""Requests per second of a typist at work, in that recording."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model in one number format on one card."""

    name: str
    is_estimate: bool
    costs: Costs
    miss_s: float
    """Additional seconds if nothing of the prompt is in the prefix cache of the card."""
    weights_gb: float
    kv_bytes_per_token: int
    target_s: float
    """Time within which 95 % of the answers are planned to come."""
    window: int = 8_192

    @property
    def cached_prompts(self) -> int:
        """Number of prompts that stay in the card's memory: half of what the weights leave free,
        in full windows (`engine.kv_cache.pool`)."""
        free = CARD_GB * 1e9 - self.weights_gb * 1e9
        return int(0.5 * free / (self.window * self.kv_bytes_per_token))


CARD_GB = 80
CARD_USD_PER_HOUR = 2.5
"""Price of a card per hour. Assumption: replace it by your own (`--card-price`)."""
CARD_WATTS = 700
"""Maximum power of the card (NVIDIA H100 SXM data sheet). Host and cooling are not included."""
USD_PER_KWH = 0.15
"""Price of electricity. Assumption."""
TARGET_S, LARGE_TARGET_S = 0.3, 1.0
"""Times within which 95 % of the answers are planned to come. 57 tokens of the largest model take
longer than the first even for one user alone."""

# A row of 40 layers with one head of 128 for keys and values, in 2 bytes.
_KV_15B = 40 * 2 * 128 * 2
_KV_3B = 36 * 2 * 128 * 2
_KV_1B = 24 * 2 * 128 * 2
# What a further request adds to a step was measured only indirectly: eight users took 505 ms at p50
# for 16 tokens, one took 236 ms. With the prompts' share of the time this is 0.5 ms.
_FURTHER_S = 0.0005

READ_BYTES_PER_S = 3.1e12
"""Rate at which the card reads memory."""


def _estimated_step(parameters: float, layers: int) -> float:
    """Return the seconds of a decoding step in bfloat16, as for 15.5B: reading the weights at 1 /
    1.10 of the limit, 0.6 ms for the other kernels of 40 layers, and 0.8 ms to launch."""
    return 1.10 * 2 * parameters / READ_BYTES_PER_S + 0.0006 * layers / 40 + 0.0008


def _estimated_prompt(layers: int) -> float:
    """Return the seconds for a few new tokens: launches only, as for 15.5B."""
    return 0.0199 * layers / 40


MODELS = (
    Model(
        "15.5B bfloat16",
        False,
        Costs(prompt_s=0.0199, first_s=0.01266, further_s=_FURTHER_S),
        miss_s=0.0850 - 0.0199,
        weights_gb=33.9,
        kv_bytes_per_token=_KV_15B,
        target_s=LARGE_TARGET_S,
    ),
    Model(
        "15.5B int8",
        False,
        Costs(prompt_s=0.0335, first_s=0.00728, further_s=_FURTHER_S),
        miss_s=0.144 - 0.0335,
        weights_gb=18.0,
        kv_bytes_per_token=_KV_15B,
        target_s=LARGE_TARGET_S,
    ),
    Model(
        "3B bfloat16",
        True,
        Costs(_estimated_prompt(36), _estimated_step(3.04e9, 36), _FURTHER_S * 36 / 40),
        miss_s=(0.0850 - 0.0199) * 3.04 / 15.5,
        weights_gb=7.0,
        kv_bytes_per_token=_KV_3B,
        target_s=TARGET_S,
    ),
    Model(
        "1B bfloat16",
        True,
        Costs(_estimated_prompt(24), _estimated_step(1.14e9, 24), _FURTHER_S * 24 / 40),
        miss_s=(0.0850 - 0.0199) * 1.14 / 15.5,
        weights_gb=3.0,
        kv_bytes_per_token=_KV_1B,
        target_s=TARGET_S,
    ),
)
