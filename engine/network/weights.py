"""The weights of a dense decoder, in the form in which `LeanForward` uses them.

Each matrix is a `Product`. The network does not know how a product stores its weights.
`engine.network.weight_layout` says which tensors of a checkpoint make up a product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.architecture import Architecture
from engine.network.weight_layout import ProductName, gate_block


class Product(Protocol):
    """A matrix of the network with its bias."""

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the matrix as (out, in)."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Return Wx + b (n, out) for each row of `x` (n, in), in the dtype of `x`."""
        ...


class Table(Product, Protocol):
    """A matrix whose rows are embeddings, and often also the output matrix."""

    def rows(self, ids: Tensor) -> Tensor:
        """Return the rows (n, in) of the matrix with the indexes `ids` (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """A matrix whose weights are stored as they are."""

    weight: Tensor
    """Weights (out, in)."""
    bias: Tensor | None
    """Bias (out,), or None."""

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the matrix as (out, in)."""
        return self.weight.shape[0], self.weight.shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        """Return Wx + b; see `Product`."""
        return functional.linear(x, self.weight, self.bias)

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the matrix; see `Table`."""
        return self.weight[ids]


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm over the last dimension: LayerNorm, or RMSNorm if it has no bias.

    RMSNorm is that of Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return the normalized rows of `x` (..., width)."""
        shape = self.weight.shape
        if self.bias is None:
            return functional.rms_norm(x, shape, self.weight, self.epsilon)
        return functional.layer_norm(x, shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one transformer block."""

    norm_1: Norm
    norm_2: Norm
    products: dict[ProductName, Product]
    query_norm: Norm | None = None
    """Norm of the queries of each head, None for a model without such norms."""
    key_norm: Norm | None = None
    window: int | None = None
    """Number of positions that a query sees, itself included; None for all."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of a model."""

    architecture: Architecture
    dtype: torch.dtype
    """Number format of the hidden states."""
    device: torch.device
    """Device that holds the model."""
    tokens: Table
    """Token embeddings (vocab, width)."""
    positions: Tensor | None
    """Position embeddings (positions, width), None for a model with rotary positions."""
    rotations: Tensor | None
    """Rotations (positions, head_dim) of `engine.network.rotary`, None without rotary positions."""
    layers: tuple[Layer, ...]
    last_norm: Norm
    head: Product
    """Output matrix: logits of the hidden states after the last norm."""

    @property
    def width(self) -> int:
        """Width of a hidden state, in values."""
        return self.architecture.width

    @property
    def head_dim(self) -> int:
        """Width of one attention head, in values."""
        return self.architecture.head_dim

    def activate(self, x: Tensor) -> Tensor:
        """Return the MLP's activations (n, inner) of its first product (n, inner or 2 * inner).

        A gated MLP multiplies them by its second product. `ProductLayout` gives the order in which
        gate and second product alternate.
        """
        function = _activation(self.architecture.activation)
        if not self.architecture.is_gated:
            return function(x)
        pairs = x.view(len(x), -1, 2, gate_block(self.architecture))
        # On contiguous numbers the function is several times as fast.
        gate = function(pairs[:, :, 0].flatten(1))
        return (gate.view_as(pairs[:, :, 1]) * pairs[:, :, 1]).flatten(1)

    def add(self, hidden: Tensor, addition: Tensor) -> Tensor:
        """Return a block's input plus what the block adds to it, both (n, width)."""
        scale = self.architecture.residual_scale
        return hidden + addition if scale == 1.0 else hidden + addition * scale

    def embed(self, ids: Tensor) -> Tensor:
        """Return the token embeddings (n, width) of `ids` (n,), without positions."""
        return self.scaled_embeddings(self.tokens.rows(ids).to(self.dtype))

    def scaled_embeddings(self, rows: Tensor) -> Tensor:
        """Return rows of the embedding matrix as the first block gets them."""
        scale = self.architecture.embedding_scale
        return rows if scale == 1.0 else rows * scale

    def logits(self, normed: Tensor) -> Tensor:
        """Return float32 logits (n, vocab) of hidden states after the last norm (n, width)."""
        logits = self.head(normed).float()
        scale = self.architecture.logit_scale
        return logits if scale == 1.0 else logits * scale


TANH_GELU = "gelu_pytorch_tanh"
"""Name of the activation function of all published StarCoder models."""
SILU = "silu"
"""Name of the activation function of Llama and most models after it."""


def check_activation(name: str) -> None:
    """Raise ValueError for an activation function that does not exist."""
    _activation(name)


@cache
def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name == SILU:
        return functional.silu
    if name == TANH_GELU:
        return partial(functional.gelu, approximate="tanh")
    # No common code model needs this import, which takes seconds.
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        raise ValueError(f"the activation function {name[:40]!r} is unknown")
    activation: Callable[[Tensor], Tensor] = ACT2FN[name]
    return activation
