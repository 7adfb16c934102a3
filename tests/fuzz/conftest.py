"""Fuzzers: a few examples in every test run, many with `make fuzz`.

`STARCODER_LSP_FUZZ` is the number of examples per fuzzer. Hypothesis derives the examples from a
fixed seed in the short run, so that a test run does not fail at random.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SHORT_RUN = 60
"""Number of examples per fuzzer in a normal test run."""

NUM_EXAMPLES = int(os.environ.get("STARCODER_LSP_FUZZ", SHORT_RUN))

FUZZING = settings(
    max_examples=NUM_EXAMPLES,
    derandomize=NUM_EXAMPLES <= SHORT_RUN,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""Settings of every fuzzer: `@FUZZING` above `@given(...)`."""
