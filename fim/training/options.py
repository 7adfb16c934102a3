"""Options of fine-tuning on a repository, and what follows from them for an architecture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.architecture import Architecture

MAX_LENGTH = 1024
"""Maximum tokens of a training sequence: activations, not weights, are what fills a GPU."""

_SMALL_MODEL = 100_000_000
"""Number of parameters below which a model needs a higher learning rate."""


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
    """Peak learning rate; None for the one of `learning_rate`."""
    full: bool = False
    """Whether all weights are trained rather than an adapter."""
    lines: int = 300
    """Number of lines that exact match is measured on."""
    seed: int = 0
    """Seed of the split, the training sequences and their order."""


def learning_rate(architecture: Architecture, options: TuneOptions) -> float:
    """Return the peak learning rate: the option, or a default for the size of the model.

    The default is 3e-4, or 2e-3 below 100 million parameters, where 3e-4 hardly changes the model.
    It is a tenth of that if all weights are trained.
    """
    if options.learning_rate is not None:
        return options.learning_rate
    rate = 2e-3 if architecture.num_parameters < _SMALL_MODEL else 3e-4
    return rate / 10 if options.full else rate


def sequence_length(architecture: Architecture) -> int:
    """Return the number of tokens of a training sequence."""
    return min(MAX_LENGTH, architecture.positions)


def estimate_memory_bytes(architecture: Architecture, options: TuneOptions) -> int:
    """Return a lower bound of the bytes that tuning needs.

    It adds up weights, gradients, optimiser state, activations and logits. A trained parameter
    needs 16 bytes, a logit 10.
    """
    weights = architecture.num_parameters * (2 if torch.cuda.is_available() else 4)
    trained = (
        architecture.num_parameters
        if options.full
        else architecture.num_adapter_parameters(options.rank)
    )
    tokens = options.rows_per_step * sequence_length(architecture)
    layers = architecture.num_layers * _activation_bytes(architecture)
    return weights + 16 * trained + tokens * (layers + 10 * architecture.vocab_size)


def _activation_bytes(architecture: Architecture) -> int:
    """Return the bytes that the backward pass of a layer needs for each token.

    Inputs of norms and products have 16-bit values (Korthikanti et al. 2022, arXiv:2205.05198,
    without the part that grows with the square of the length). For an MLP that is four times as
    wide as the model this is their 34 bytes per unit of width.
    """
    norms_and_inputs = 10 * architecture.width
    attention = 4 * (architecture.query_width + architecture.kv_width)
    mlp = (8 if architecture.is_gated else 4) * architecture.inner
    return norms_and_inputs + attention + mlp
