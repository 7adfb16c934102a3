"""The weights of a multi-query GPTBigCode model, in the form in which `LeanForward` uses them.

Each matrix is a `Product`. The network does not know how a product stores its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    """A layer norm over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return the normalized rows of `x` (n, width)."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one transformer block."""

    norm_1: Norm
    norm_2: Norm
    products: dict[str, Product]
    """The products by the names in `PRODUCTS`, which LoRA adapters use too."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of a model."""

    heads: int
    """Number of attention heads."""
    scale: float
    """Factor of the attention scores."""
    activation: Callable[[Tensor], Tensor]
    """Activation function of the MLP."""
    activation_name: str
    """Name of the activation function in config.json."""
    tokens: Table
    """Token embeddings (vocab, width)."""
    positions: Tensor
    """Position embeddings (positions, width)."""
    layers: tuple[Layer, ...]
    last_norm: Norm
    head: Product
    """Output matrix: logits of the hidden states after the last norm."""

    @property
    def width(self) -> int:
        """Width of a hidden state, in values."""
        return self.positions.shape[1]

    @property
    def head_dim(self) -> int:
        """Width of one attention head, and of the single key and value that all heads share."""
        return self.width // self.heads

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the hidden states."""
        return self.positions.dtype

    @property
    def device(self) -> torch.device:
        """Device that holds the model."""
        return self.positions.device


TANH_GELU = "gelu_pytorch_tanh"
"""Name of the activation function of all published StarCoder models."""

PRODUCTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
"""The products of a block, by the name of their module in transformers."""

ReadTensor = Callable[[str], Tensor]
"""A function that returns the tensor of a given name in the checkpoint, on its final device."""
MakeTable = Callable[[Tensor, Tensor | None], Table]
"""A function that returns a product of weights (out, in) and a bias."""


def build_weights(
    config: dict[str, Any], read: ReadTensor, make_table: MakeTable = Dense
) -> Weights:
    """Return the weights that a GPTBigCode `config.json` describes.

    Raises KeyError for a tensor that `read` does not have.
    """
    epsilon = float(config.get("layer_norm_epsilon", 1e-5))
    heads, width = int(config["n_head"]), int(config["n_embd"])

    def norm(name: str) -> Norm:
        return Norm(read(f"{name}.weight"), read(f"{name}.bias"), epsilon)

    def layer(name: str) -> Layer:
        products: dict[str, Product] = {
            product: make_table(read(f"{name}.{product}.weight"), read(f"{name}.{product}.bias"))
            for product in PRODUCTS
        }
        return Layer(norm(f"{name}.ln_1"), norm(f"{name}.ln_2"), products)

    tokens = make_table(read("transformer.wte.weight"), None)
    is_tied = config.get("tie_word_embeddings", True)
    activation = str(config.get("activation_function", TANH_GELU))
    return Weights(
        heads=heads,
        scale=(width // heads) ** -0.5 if config.get("scale_attn_weights", True) else 1.0,
        activation=_activation(activation),
        activation_name=activation,
        tokens=tokens,
        positions=read("transformer.wpe.weight"),
        layers=tuple(layer(f"transformer.h.{index}") for index in range(int(config["n_layer"]))),
        last_norm=norm("transformer.ln_f"),
        head=tokens if is_tied else make_table(read("lm_head.weight"), None),
    )


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name == TANH_GELU:
        return partial(functional.gelu, approximate="tanh")
    # No published StarCoder needs this import, which takes seconds.
    from transformers.activations import ACT2FN

    activation: Callable[[Tensor], Tensor] = ACT2FN[name]
    return activation


def weights_of_module(model: PreTrainedModel) -> Weights:
    """Return the weights of a transformers module that `LeanForward.supports`."""
    return build_weights(model.config.to_dict(), lambda name: model.get_parameter(name).detach())
