"""Rounds weights to 8 or 4 bits, in the layout that the kernels read.

- 8 bits: each row of a matrix has one scale, its largest magnitude divided by 127.
- 4 bits: each group of 32 columns of a row has a grid of 16 values, of which the numbers 0 to 15
  select one: scale * number + minimum, with scale and minimum in bfloat16.

The numbers are stored in the order in which the kernels read them: blocks of 16 rows, in a block
groups of 4 columns, and of each row 4 bytes. A byte of 4-bit weights holds two columns that are
four apart, the earlier one in the low bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Bits = Literal[8, 4]
"""Number of bits of a quantised weight."""

BLOCK = 16
"""Number of rows in a block."""
GROUP = 32
"""Number of columns of a group, to a multiple of which columns are padded."""


@dataclass(frozen=True, slots=True)
class Grids:
    """The grids of 4-bit weights, one for each group of 32 columns of each row."""

    scales: Tensor
    """Distances between neighbouring values (out, groups) in float32."""
    minima: Tensor
    """Smallest values (out, groups) in float32."""

    def to(self, device: str) -> Grids:
        """Return the grids on a device."""
        return Grids(self.scales.to(device), self.minima.to(device))

    def split(self, rows: int) -> list[Grids]:
        """Return the grids of every `rows` rows."""
        pairs = zip(torch.split(self.scales, rows), torch.split(self.minima, rows), strict=True)
        return [Grids(scales, minima) for scales, minima in pairs]

    def take(self, order: Tensor) -> Grids:
        """Return the grids of the rows `order`."""
        order = order.to(self.scales.device)
        return Grids(self.scales[order], self.minima[order])

    @staticmethod
    def stacked(parts: Sequence[Grids]) -> Grids:
        """Return the grids of matrices that are stacked one below the other."""
        scales, minima = ([getattr(part, name) for part in parts] for name in Grids.__slots__)
        return Grids(torch.cat(scales), torch.cat(minima))


def quantise(weight: Tensor, bits: Bits, grids: Grids | None = None) -> tuple[Tensor, Tensor]:
    """Return numbers and scales of `weight` (out, in).

    The numbers are bytes (blocks, columns / 4 or columns / 8, 16, 4). The scales are float32
    (blocks, 16) in 8 bits; in 4 bits they are bfloat16 (blocks, groups, 16, 2), scale and minimum.
    `grids` are those of weights that were already rounded to 4 bits, which keep their values.
    """
    rows, columns = weight.shape
    padded = functional.pad(weight.float(), (0, -columns % GROUP, 0, -rows % BLOCK))
    numbers, scales = _to_8_bits(padded) if bits == 8 else _to_4_bits(padded, grids)
    return _packed(numbers, bits), scales


def _to_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers (out, in) with an offset of 128, and scales (blocks, 16)."""
    scales = weight.abs().amax(1).clamp(min=1e-30) / 127
    numbers = (weight / scales[:, None]).round() + 128
    return numbers.to(torch.uint8), scales.view(-1, BLOCK).contiguous()


def _to_4_bits(weight: Tensor, grids: Grids | None) -> tuple[Tensor, Tensor]:
    """Return numbers (out, in) from 0 to 15, and scales and minima (blocks, groups, 16, 2)."""
    groups = weight.view(len(weight), -1, GROUP)
    if grids is None:
        scales, minima = _fit_grids(groups)
    else:
        padding = (0, 0, 0, len(weight) - len(grids.scales))
        scales, minima = (
            functional.pad(tensor.float(), padding) for tensor in (grids.scales, grids.minima)
        )
    stored = torch.stack([scales, minima], -1).bfloat16()
    scales, minima = stored.float().unbind(-1)
    numbers = _numbers(groups, scales, minima).flatten(1).to(torch.uint8)
    return numbers, stored.view(-1, BLOCK, groups.shape[1], 2).transpose(1, 2).contiguous()


def _fit_grids(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return scales and minima (out, groups) for weights (out, groups, 32).

    The first grid reaches from the smallest to the largest weight. The second one has the least
    squared error for the numbers that the first one gives.
    """
    minima = groups.amin(2)
    scales = (groups.amax(2) - minima) / 15
    numbers = _numbers(groups, scales, minima)
    mean, mean_number = groups.mean(2), numbers.mean(2)
    numbers -= mean_number[..., None]
    variance = numbers.square().sum(2)
    scales = torch.where(variance > 0, (numbers * groups).sum(2) / variance, scales)
    return scales, mean - scales * mean_number


def _numbers(groups: Tensor, scales: Tensor, minima: Tensor) -> Tensor:
    """Return the numbers of the nearest values of the grids: (out, groups, 32) in float32."""
    divisors = torch.where(scales == 0, 1.0, scales)
    return ((groups - minima[..., None]) / divisors[..., None]).round_().clamp_(0, 15)


def _packed(numbers: Tensor, bits: Bits) -> Tensor:
    """Return numbers (out, in) in bytes: (blocks, columns / 4 or columns / 8, 16, 4)."""
    blocks, columns = len(numbers) // BLOCK, numbers.shape[1]
    if bits == 8:
        return numbers.view(blocks, BLOCK, columns // 4, 4).transpose(1, 2).contiguous()
    pairs = numbers.view(blocks, BLOCK, columns // 8, 2, 4)
    packed: Tensor = pairs[..., 0, :] | pairs[..., 1, :] << 4
    return packed.transpose(1, 2).contiguous()
