"""Rotary position embeddings (Su et al. 2021, arXiv:2104.09864).

Each pair of values of a query or key is rotated by an angle that grows with the position. In a
checkpoint of transformers the two values of a pair are half a head apart. Here they are neighbours:
`interleaved_halves` says how the rows of a matrix must be reordered. Scores do not change by that,
because queries and keys have the same order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.architecture import Architecture, Llama3Scaling, Rotary


def rotation_table(architecture: Architecture, positions: int) -> Tensor:
    """Return the rotations (positions, head_dim) in float32: cosine and sine for each pair."""
    assert architecture.rotary is not None
    frequencies = _frequencies(architecture.rotary, architecture.head_dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    return torch.stack([angles.cos(), angles.sin()], -1).flatten(1)


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Return `x` (n, heads, head_dim) rotated by `rotations` (n, head_dim), in its dtype."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:2], -1, 2))
    turns = torch.view_as_complex(rotations.view(len(rotations), 1, -1, 2))
    return torch.view_as_real(pairs * turns).flatten(2).to(x.dtype)


def interleaved_halves(x: Tensor) -> Tensor:
    """Return the values of a head (head_dim,) with both halves interleaved."""
    return x.view(2, -1).T.reshape(-1)


def _frequencies(rotary: Rotary, head_dim: int) -> Tensor:
    """Return the angle per position of each pair (head_dim / 2,), as transformers computes it."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    frequencies = 1.0 / (rotary.theta**exponents) / rotary.linear_factor
    return frequencies if rotary.llama3 is None else _llama3(frequencies, rotary.llama3)


def _llama3(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Return frequencies of which the low ones are divided by a factor."""
    wavelengths = 2 * math.pi / frequencies
    low = scaling.original_positions / scaling.low_frequency_factor
    high = scaling.original_positions / scaling.high_frequency_factor
    slow = frequencies / scaling.factor
    share = (scaling.original_positions / wavelengths - scaling.low_frequency_factor) / (
        scaling.high_frequency_factor - scaling.low_frequency_factor
    )
    between = (1 - share) * slow + share * frequencies
    scaled = torch.where(wavelengths > low, slow, frequencies)
    return torch.where((wavelengths <= low) & (wavelengths >= high), between, scaled)
