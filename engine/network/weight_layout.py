"""Which tensors of a checkpoint make up a product of the network, and in which order.

A block has four products. Queries, keys and values are one product, and so are the two matrices of
a gated MLP: fewer and larger products are faster. The order of their rows suits the operations that
follow:

- The two values of a rotary pair are neighbours (`engine.network.rotary`).
- Gate and second product of an MLP alternate in blocks of `GATE_BLOCK` rows, so that a CPU kernel
  has both in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.architecture import Architecture, Part
from engine.network.rotary import interleaved_halves

ProductName = Literal["attention_in", "attention_out", "mlp_in", "mlp_out"]
PRODUCTS: tuple[ProductName, ...] = ("attention_in", "attention_out", "mlp_in", "mlp_out")
"""The products of a block."""

GATE_BLOCK = 16
"""Number of rows of a block of a gated MLP."""


@dataclass(frozen=True, slots=True)
class LayoutPart:
    """One matrix of a checkpoint."""

    name: str
    """Name of its module in a layer."""
    rows: int
    has_bias: bool


@dataclass(frozen=True, slots=True)
class ProductLayout:
    """The matrices of a product, one below the other, and the order of their rows."""

    parts: tuple[LayoutPart, ...]
    columns: int
    order: Tensor | None = None
    """For each row of the product its index among the rows of all parts; None if they are equal."""

    @property
    def rows(self) -> int:
        """Number of rows of the product."""
        return sum(part.rows for part in self.parts)

    def ordered(self, rows: Tensor) -> Tensor:
        """Return the rows of all parts (rows, ...) in the order of the product."""
        return rows if self.order is None else rows[self.order.to(rows.device)]


def layouts(architecture: Architecture) -> dict[ProductName, ProductLayout]:
    """Return the layout of each product of a block."""
    names, width, inner = architecture.names, architecture.width, architecture.inner
    mlp_in = tuple(LayoutPart(name, inner, "mlp" in architecture.biases) for name in names.mlp_in)
    return {
        "attention_in": ProductLayout(
            _attention_parts(architecture), width, _attention_order(architecture)
        ),
        "attention_out": ProductLayout(
            (LayoutPart(names.attention_out, width, "output" in architecture.biases),),
            architecture.query_width,
        ),
        "mlp_in": ProductLayout(mlp_in, width, _mlp_order(architecture)),
        "mlp_out": ProductLayout(
            (LayoutPart(names.mlp_out, width, "mlp" in architecture.biases),), inner
        ),
    }


def gate_block(architecture: Architecture) -> int:
    """Return the number of rows after which gate and second product of an MLP alternate."""
    return GATE_BLOCK if architecture.inner % GATE_BLOCK == 0 else architecture.inner


def _attention_parts(architecture: Architecture) -> tuple[LayoutPart, ...]:
    names = architecture.names.attention_in
    sizes = (architecture.query_width, architecture.kv_width, architecture.kv_width)
    if len(names) == 1:
        return (LayoutPart(names[0], sum(sizes), "query" in architecture.biases),)
    parts: tuple[Part, ...] = ("query", "key", "value")
    return tuple(
        LayoutPart(name, size, part in architecture.biases)
        for name, size, part in zip(names, sizes, parts, strict=True)
    )


def _attention_order(architecture: Architecture) -> Tensor | None:
    if architecture.has_rows_by_head:
        by_head = torch.arange(3 * architecture.query_width)
        return by_head.view(architecture.heads, 3, -1).transpose(0, 1).reshape(-1)
    if architecture.rotary is None:
        return None
    dim = architecture.head_dim
    pairs = interleaved_halves(torch.arange(dim))
    num_rotated = architecture.heads + architecture.kv_heads
    rotated = (dim * torch.arange(num_rotated)[:, None] + pairs).flatten()
    first_value = num_rotated * dim
    return torch.cat([rotated, torch.arange(first_value, first_value + architecture.kv_width)])


def _mlp_order(architecture: Architecture) -> Tensor | None:
    if not architecture.is_gated:
        return None
    blocks = torch.arange(2 * architecture.inner).view(2, -1, gate_block(architecture))
    return blocks.transpose(0, 1).reshape(-1)
