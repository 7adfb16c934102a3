"""Builds the weights of a network from the tensors of a checkpoint, whose shapes it checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.architecture import Architecture
from engine.network.quantise import Grids
from engine.network.rotary import interleaved_halves, rotation_table
from engine.network.weight_layout import ProductLayout, layouts
from engine.network.weights import (
    Dense,
    Layer,
    Norm,
    Product,
    Table,
    Weights,
    check_activation,
)

ReadTensor = Callable[[str], Tensor]
"""A function that returns the tensor of a given name in the checkpoint, on its final device."""
ReadGrids = Callable[[str], Grids | None]
"""A function that returns the grids of a tensor in 4 bits, None for any other tensor."""


@dataclass(frozen=True, slots=True)
class ProductParts:
    """What a product is made from."""

    weight: Tensor
    """Weights (out, in)."""
    bias: Tensor | None
    """Bias (out,), or None."""
    grids: Grids | None
    """Grids of weights that all have 4 bits, otherwise None."""
    is_table: bool
    """Whether the product is the matrix of embeddings or the output matrix."""


MakeTable = Callable[[ProductParts], Table]
"""A function that returns a product."""


def make_dense(parts: ProductParts) -> Table:
    """Return a product whose weights are stored as they are."""
    return Dense(parts.weight, parts.bias)


def no_grids(_name: str) -> None:
    """Return None, for a checkpoint without weights in 4 bits."""


def build_weights(
    architecture: Architecture,
    read: ReadTensor,
    make_table: MakeTable = make_dense,
    read_grids: ReadGrids = no_grids,
    window: int | None = None,
) -> Weights:
    """Return the weights of a checkpoint.

    `window` is the number of positions that are used, None for all that the model has. Raises
    KeyError for a tensor that `read` does not have, and ValueError for one of a wrong shape.
    """
    check_activation(architecture.activation)
    builder = _Builder(architecture, read, make_table, read_grids)
    names = architecture.names
    tokens = builder.table(names.tokens)
    last_norm = builder.norm(names.last_norm)
    layers = tuple(builder.layer(index) for index in range(architecture.num_layers))
    is_learned = architecture.rotary is None
    device = last_norm.weight.device
    positions = window or architecture.positions
    return Weights(
        architecture=architecture,
        dtype=last_norm.weight.dtype,
        device=device,
        tokens=tokens,
        positions=builder.read(names.positions, architecture.positions) if is_learned else None,
        rotations=None if is_learned else rotation_table(architecture, positions).to(device),
        layers=layers,
        last_norm=last_norm,
        head=tokens if architecture.is_tied else builder.table(names.head),
    )


class _Builder:
    """Reads the tensors of a checkpoint and checks their shapes."""

    def __init__(
        self, architecture: Architecture, read: ReadTensor, make: MakeTable, read_grids: ReadGrids
    ) -> None:
        self._architecture, self._read, self._make = architecture, read, make
        self._read_grids = read_grids
        self._layouts = layouts(architecture)

    def read(self, name: str, rows: int) -> Tensor:
        """Return a matrix (rows, width)."""
        return self._checked(f"{name}.weight", (rows, self._architecture.width))

    def table(self, name: str) -> Table:
        weight = self.read(name, self._architecture.vocab_size)
        return self._make(ProductParts(weight, None, self._read_grids(f"{name}.weight"), True))

    def norm(self, name: str, size: int | None = None, *, is_rms: bool | None = None) -> Norm:
        shape = (size or self._architecture.width,)
        has_bias = not (self._architecture.has_rms_norms if is_rms is None else is_rms)
        return Norm(
            self._checked(f"{name}.weight", shape),
            self._checked(f"{name}.bias", shape) if has_bias else None,
            self._architecture.epsilon,
        )

    def layer(self, index: int) -> Layer:
        names, architecture = self._architecture.names, self._architecture
        stem = f"{names.layers}{index}."
        has_head_norms = architecture.has_head_norms
        return Layer(
            self.norm(stem + names.norm_1),
            self.norm(stem + names.norm_2),
            {name: self._product(stem, layout) for name, layout in self._layouts.items()},
            self._head_norm(stem + names.query_norm) if has_head_norms else None,
            self._head_norm(stem + names.key_norm) if has_head_norms else None,
            architecture.windows[index],
        )

    def _head_norm(self, name: str) -> Norm:
        """Return a norm of each head, in the order in which products have the head's values."""
        norm = self.norm(name, self._architecture.head_dim, is_rms=True)
        return Norm(interleaved_halves(norm.weight), None, norm.epsilon)

    def _product(self, stem: str, layout: ProductLayout) -> Product:
        names = [f"{stem}{part.name}.weight" for part in layout.parts]
        weights = [
            self._checked(name, (part.rows, layout.columns))
            for name, part in zip(names, layout.parts, strict=True)
        ]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        del weights  # at most two copies of a matrix are in memory at any time
        bias, grids = self._bias(stem, layout, weight), self._grids(names, layout)
        return self._make(ProductParts(layout.ordered(weight), bias, grids, False))

    def _grids(self, names: Sequence[str], layout: ProductLayout) -> Grids | None:
        """Return the grids of a product, None if a part of it does not have grids."""
        parts = [grids for name in names if (grids := self._read_grids(name)) is not None]
        if len(parts) < len(names):
            return None
        grids = Grids.stacked(parts)
        return grids if layout.order is None else grids.take(layout.order)

    def _bias(self, stem: str, layout: ProductLayout, like: Tensor) -> Tensor | None:
        """Return the bias of a product; a part without one has zeros."""
        if not any(part.has_bias for part in layout.parts):
            return None
        biases = [
            self._checked(f"{stem}{part.name}.bias", (part.rows,))
            if part.has_bias
            else like.new_zeros(part.rows)
            for part in layout.parts
        ]
        return layout.ordered(torch.cat(biases))

    def _checked(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._read(name)
        if tensor.shape != shape:
            raise ValueError(
                f"the tensor {name} has the shape {tuple(tensor.shape)} instead of {shape}"
            )
        return tensor
