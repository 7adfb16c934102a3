"""A multi-query GPTBigCode's weights, as the lean forward computes with them.

Each matrix is a `Product`: how its weights are kept is no concern of the network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Product(Protocol):
    """One matrix of the network, with its bias."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Return Wx + b for each row of `x` (n, in): (n, out), of the type of `x`."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """Weights kept as they are."""

    weight: Tensor
    """(out, in)."""
    bias: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return self.weight.shape[0], self.weight.shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return the norm of each row of `x` (n, width)."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights. The products have the names that adapters know them by."""

    norm_1: Norm
    norm_2: Norm
    products: dict[str, Product]
    """`attn.c_attn`, `attn.c_proj`, `mlp.c_fc`, `mlp.c_proj`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model."""

    width: int
    heads: int
    scale: float
    """Of attention scores."""
    activation: nn.Module
    tokens: Tensor
    """(vocab, width): the embeddings."""
    positions: Tensor
    """(positions, width)."""
    layers: tuple[Layer, ...]
    last_norm: Norm
    head: Product
    """Logits of the last norm's output."""

    @property
    def head_dim(self) -> int:
        """Width of one head, and of the one key and value that all heads share."""
        return self.width // self.heads

    @property
    def dtype(self) -> torch.dtype:
        """What hidden states are computed in."""
        return self.positions.dtype

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.positions.device


PRODUCTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
"""The products of a block, by the name of their module."""


def weights_of(model: Any) -> Weights:
    """Return the weights of transformers' module; see `engine.forward.LeanForward.fits`."""
    config, body = model.config, model.transformer
    epsilon = config.layer_norm_epsilon

    def norm(module: Any) -> Norm:
        return Norm(module.weight.detach(), module.bias.detach(), epsilon)

    def layer(block: Any) -> Layer:
        linears = {name: block.get_submodule(name) for name in PRODUCTS}
        products: dict[str, Product] = {
            name: Dense(linear.weight.detach(), linear.bias.detach())
            for name, linear in linears.items()
        }
        return Layer(norm(block.ln_1), norm(block.ln_2), products)

    return Weights(
        width=config.n_embd,
        heads=config.n_head,
        scale=body.h[0].attn.scaling,
        activation=body.h[0].mlp.act,
        tokens=body.wte.weight.detach(),
        positions=body.wpe.weight.detach(),
        layers=tuple(layer(block) for block in body.h),
        last_norm=norm(body.ln_f),
        head=Dense(model.lm_head.weight.detach(), None),
    )
