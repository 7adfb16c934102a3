"""The scaling of rotary embeddings in GGUF files, in the form of transformers' `rope_scaling`."""

from __future__ import annotations

import math
from typing import Any

from engine.errors import UnsupportedModelError
from engine.loading.gguf_metadata import Metadata

_LLAMA3_CONTEXT = 8192
"""Context window of the models before their scaling, in tokens (Llama 3.1, 3.2 and 3.3)."""
_LLAMA3_LIMITS = (1.0, 4.0)
"""`low_freq_factor` and `high_freq_factor` of all Llama 3 models."""


def rope_scaling(
    metadata: Metadata, config: dict[str, Any], factors: list[float] | None
) -> dict[str, Any] | None:
    """Return `rope_scaling`, None for a model without it.

    `factors` are the values of rope_freqs.weight: the divisor of each frequency, as llama.cpp
    stores Llama 3's scaling. Raises UnsupportedModelError for scaling of another kind.
    """
    arch = metadata.architecture
    if factors is not None:
        return _llama3(metadata, config, factors)
    kind = metadata.text(f"{arch}.rope.scaling.type", "")
    factor = metadata.number(f"{arch}.rope.scaling.factor", 1.0)
    if metadata.has(f"{arch}.rope.scale_linear"):  # in files of 2023
        kind, factor = "linear", metadata.number(f"{arch}.rope.scale_linear")
    if kind in ("", "none") or factor == 1.0:
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        context = metadata.integer(f"{arch}.rope.scaling.original_context_length")
        scaling: dict[str, Any] = {"rope_type": "yarn", "factor": factor}
        return scaling | {"original_max_position_embeddings": context}
    raise UnsupportedModelError(
        f"{metadata.source} scales its positions by {kind[:40]!r}, which is not supported. "
        "Supported are linear, yarn and Llama 3's scaling."
    )


def _llama3(metadata: Metadata, config: dict[str, Any], factors: list[float]) -> dict[str, Any]:
    """Return the parameters of Llama 3's scaling that give these divisors."""
    key = f"{metadata.architecture}.rope.scaling.original_context_length"
    context = metadata.integer(key, _LLAMA3_CONTEXT)
    frequencies = _frequencies(config["rope_theta"], config["head_dim"])
    if len(factors) == len(frequencies) and all(map(math.isfinite, factors)) and min(factors) >= 1:
        factor = float(f"{max(factors):.6g}")
        for low, high in (_LLAMA3_LIMITS, _fit(frequencies, factors, factor, context)):
            expected = [_divisor(each, factor, low, high, context) for each in frequencies]
            if all(map(_is_close, factors, expected)):
                return {
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": low,
                    "high_freq_factor": high,
                    "original_max_position_embeddings": context,
                }
    raise UnsupportedModelError(
        f"{metadata.source} is damaged or scales its positions in a way that is not supported: its "
        "tensor rope_freqs.weight is not of Llama 3's form. Choose another file of the model."
    )


def _is_close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-4)


def _frequencies(theta: float, head_dim: int) -> list[float]:
    return [theta ** (-index / head_dim) for index in range(0, head_dim, 2)]


def _divisor(frequency: float, factor: float, low: float, high: float, context: int) -> float:
    """Return the divisor of a frequency (transformers, `_compute_llama3_parameters`)."""
    turns = context * frequency / (2 * math.pi)
    if turns > high:
        return 1.0
    if turns < low or low == high:
        return factor
    smooth = (turns - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)


def _fit(
    frequencies: list[float], factors: list[float], factor: float, context: int
) -> tuple[float, float]:
    """Return the limits that the two outermost divisors between 1 and `factor` determine."""
    points = [
        (context * frequency / (2 * math.pi), (1 / value - 1 / factor) / (1 - 1 / factor))
        for frequency, value in zip(frequencies, factors, strict=True)
        if 1 < value < factor and not _is_close(value, factor)
    ]
    if len(points) < 2:
        return _LLAMA3_LIMITS
    (first_turns, first), (last_turns, last) = points[0], points[-1]
    if first == last:
        return _LLAMA3_LIMITS
    slope = (first_turns - last_turns) / (first - last)
    low = last_turns - last * slope
    return tuple(float(f"{limit:.4g}") for limit in (low, low + slope))  # type: ignore[return-value]
