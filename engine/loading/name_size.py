"""The number of parameters that a model's name states, for a model that is not on disk yet."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")
"""Pattern for `7B`, `1.3b`, `135M` and `8x7B` between separators.

It excludes the active parameters in `30B-A3B`, and `4bit`.
"""
_UNITS = {"b": 1_000_000_000, "m": 1_000_000}

_WITHOUT_NUMBER = {
    "starcoder": 15_500_000_000,
    "starcoderbase": 15_500_000_000,
    "starcoderplus": 15_500_000_000,
    "starchat-alpha": 15_500_000_000,
    "starchat-beta": 15_500_000_000,
}
"""Parameters of models whose names state no number (Li et al. 2023)."""


def parameters_in_name(model: str) -> int | None:
    """Return the number of parameters that a hub id states; None if it states none.

    The first number counts, because others are about the training data. Names round: `7B` may have
    7.6 billion parameters. For `8x7B` it is the product, which is more than the model has, since
    its experts share layers.
    """
    name = model.rsplit("/", 1)[-1].lower()
    match = _NUMBER.search(name)
    if match is None:
        return _WITHOUT_NUMBER.get(name)
    experts, number, unit = match.groups()
    return round(int(experts or 1) * float(number) * _UNITS[unit]) or None
