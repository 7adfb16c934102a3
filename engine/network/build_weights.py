"""Builds the weights of a network from the tensors of a checkpoint, whose shapes it checks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.architecture import Architecture
from engine.network.rotary import interleaved_halves, rotation_table
from engine.network.weight_layout import ProductLayout, layouts
from engine.network.weights import Dense, Layer, Norm, Product, Table, Weights

ReadTensor = Callable[[str], Tensor]
"""A function that returns the tensor of a given name in the checkpoint, on its final device."""
MakeTable = Callable[[Tensor, Tensor | None], Table]
"""A function that returns a product of weights (out, in) and a bias."""


def build_weights(
    architecture: Architecture,
    read: ReadTensor,
    make_table: MakeTable = Dense,
    window: int | None = None,
) -> Weights:
    """Return the weights of a checkpoint.

    `window` is the number of positions that are used, None for all that the model has. Raises
    KeyError for a tensor that `read` does not have, and ValueError for one of a wrong shape.
    """
    builder = _Builder(architecture, read, make_table)
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

    def __init__(self, architecture: Architecture, read: ReadTensor, make: MakeTable) -> None:
        self._architecture, self._read, self._make = architecture, read, make
        self._layouts = layouts(architecture)

    def read(self, name: str, rows: int) -> Tensor:
        """Return a matrix (rows, width)."""
        return self._checked(f"{name}.weight", (rows, self._architecture.width))

    def table(self, name: str) -> Table:
        return self._make(self.read(name, self._architecture.vocab_size), None)

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
        weights = [
            self._checked(f"{stem}{part.name}.weight", (part.rows, layout.columns))
            for part in layout.parts
        ]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        del weights  # at most two copies of a matrix are in memory at any time
        return self._make(layout.ordered(weight), self._bias(stem, layout, weight))

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
