"""Options of fine-tuning on a repository, and the memory that they need."""

from __future__ import annotations

from dataclasses import dataclass

import torch

LORA_TARGETS = ("c_attn", "c_proj", "c_fc")
"""Modules that get a LoRA adapter: every matrix product within the layers.

BigCode's list names c_attn and c_proj only.
"""

MAX_LENGTH = 1024
"""Maximum tokens of a training sequence: activations, not weights, are what fills a GPU."""


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """Options of fine-tuning on a repository."""

    steps: int | None = None
    """Number of optimiser steps; None means four passes over the repository, within bounds."""
    rows_per_step: int = 8
    """Sequences in one optimiser step."""
    rank: int = 16
    """Rank of the LoRA matrices."""
    alpha: int = 32
    """Scale of the LoRA update: it is multiplied by alpha / rank."""
    dropout: float = 0.05
    """Dropout probability of the adapter's input."""
    learning_rate: float | None = None
    """Peak learning rate.

    None means 3e-4, or 2e-3 below 100 million parameters, where 3e-4 hardly changes the model.
    """
    full: bool = False
    """Whether all weights are trained rather than an adapter."""
    lines: int = 300
    """Number of lines that exact match is measured on."""
    seed: int = 0
    """Seed of the split, the training sequences and their order."""


def estimate_memory_bytes(
    parameters: int, layers: int, width: int, vocab: int, options: TuneOptions
) -> int:
    """Return a lower bound of the bytes that tuning needs.

    It adds up weights, optimiser state, activations and logits. The activations of a layer are
    about 34 bytes per token and unit of width with 16-bit values (Korthikanti et al. 2022,
    arXiv:2205.05198, without the part that grows with the square of the length).
    """
    on_gpu = torch.cuda.is_available()
    weights = parameters * (2 if on_gpu else 4)
    # The adapter's matrices belong to four products of a layer, eleven widths in all.
    trained = parameters if options.full else layers * options.rank * 11 * width
    tokens = options.rows_per_step * MAX_LENGTH
    activations = 34 * tokens * layers * width + 10 * tokens * vocab
    return weights + 16 * trained + activations
