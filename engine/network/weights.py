"""A multi-query GPTBigCode's weights, as the lean forward computes with them.

Each matrix is a `Product`: how its weights are kept is no concern of the network's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
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


class Table(Product, Protocol):
    """A matrix whose rows are embeddings, and often the output's as well."""

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows (n, in) of the matrix."""
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

    def rows(self, ids: Tensor) -> Tensor:
        """See `Table`."""
        return self.weight[ids]


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

    heads: int
    scale: float
    """Of attention scores."""
    activation: Callable[[Tensor], Tensor]
    activation_name: str
    """As config.json has it."""
    tokens: Table
    """(vocab, width): the embeddings."""
    positions: Tensor
    """(positions, width)."""
    layers: tuple[Layer, ...]
    last_norm: Norm
    head: Product
    """Logits of the last norm's output."""

    @property
    def width(self) -> int:
        """Of a hidden state."""
        return self.positions.shape[1]

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


TANH_GELU = "gelu_pytorch_tanh"
"""The activation of all StarCoders."""

PRODUCTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
"""The products of a block, by the name of their module."""

Take = Callable[[str], Tensor]
"""Returns the tensor of a name, as a checkpoint names it, where it is to be."""
MakeTable = Callable[[Tensor, Tensor | None], Table]
"""Returns a product of weights (out, in) and a bias."""


def weights_from(config: dict[str, Any], take: Take, make: MakeTable = Dense) -> Weights:
    """Return the weights that a GPTBigCode `config.json` describes.

    Raises KeyError for what `take` does not have.
    """
    epsilon = float(config.get("layer_norm_epsilon", 1e-5))
    heads, width = int(config["n_head"]), int(config["n_embd"])

    def norm(name: str) -> Norm:
        return Norm(take(f"{name}.weight"), take(f"{name}.bias"), epsilon)

    def product(name: str) -> Product:
        return make(take(f"{name}.weight"), take(f"{name}.bias"))

    def layer(name: str) -> Layer:
        products = {one: product(f"{name}.{one}") for one in PRODUCTS}
        return Layer(norm(f"{name}.ln_1"), norm(f"{name}.ln_2"), products)

    tokens = make(take("transformer.wte.weight"), None)
    tied = config.get("tie_word_embeddings", True)
    activation = str(config.get("activation_function", TANH_GELU))
    return Weights(
        heads=heads,
        scale=(width // heads) ** -0.5 if config.get("scale_attn_weights", True) else 1.0,
        activation=_activation(activation),
        activation_name=activation,
        tokens=tokens,
        positions=take("transformer.wpe.weight"),
        layers=tuple(layer(f"transformer.h.{index}") for index in range(int(config["n_layer"]))),
        last_norm=norm("transformer.ln_f"),
        head=tokens if tied else make(take("lm_head.weight"), None),
    )


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name == TANH_GELU:
        return partial(functional.gelu, approximate="tanh")
    # Imported only for a model that is unlike every published StarCoder: it takes seconds.
    from transformers.activations import ACT2FN

    found: Callable[[Tensor], Tensor] = ACT2FN[name]
    return found


def weights_of(model: Any) -> Weights:
    """Return the weights of transformers' module; see
    `engine.network.lean_forward.LeanForward.fits`."""
    return weights_from(model.config.to_dict(), lambda name: model.get_parameter(name).detach())
