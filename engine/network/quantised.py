"""Weights in 8 or 4 bits, and their products.

8 bits: each row of a matrix has one scale, its largest magnitude over 127. 4 bits: each 32 columns
of a row have one, kept in bfloat16, such that the value of largest magnitude becomes -8. The
kernels quantise activations as they come, to 8 bits with one scale for 128 of them; the sums of
such products are exact.

The numbers are kept in the order in which the kernels read them: blocks of 16 rows; in a block,
columns by fours; of each row four bytes. A byte of 4-bit weights holds two columns that are four
apart, the earlier one below.
"""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.build import shared_kernels
from engine.kernels.native import INT4, INT8, Native, NativeMatrix, matrix

log = logging.getLogger(__name__)

Bits = Literal[8, 4]

_BLOCK = 16
_COLUMNS = 32
"""Columns are padded to a multiple; and columns that share a scale in 4 bits."""
_FEW_ROWS = 32
"""Of activations; above, a matrix unit is worth having weights in bfloat16 for."""
_ROWS_AT_ONCE = 2048
"""Of weights, quantised or made wide again."""


class Quantised:
    """A `Product` of quantised weights; also embeddings, since the two are often one matrix."""

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: Bits) -> None:
        """Quantise `weight` (out, in)."""
        self.shape: tuple[int, int] = weight.shape[0], weight.shape[1]
        self._bits = bits
        self.bias = bias
        # By parts: what is needed in between is several times as large as the weights.
        parts = [_quantise(part, bits) for part in torch.split(weight, _ROWS_AT_ONCE)]
        self.numbers = torch.cat([numbers for numbers, _ in parts])
        self.scales = torch.cat([scales for _, scales in parts])
        self._held: NativeMatrix | None = None
        self._gpu: ModuleType | None = None
        """`engine.kernels.triton_products` where they can be used."""
        if self.numbers.is_cuda:
            self._gpu = _triton_products(bits, weight.dtype, self.numbers.device)

    @property
    def held(self) -> NativeMatrix:
        """The matrix as the kernels see it."""
        if self._held is None:
            kind = INT8 if self._bits == 8 else INT4
            self._held = matrix(kind, self.shape, self.numbers, self.scales, self.bias)
        return self._held

    @property
    def bytes(self) -> int:
        """What it takes of memory."""
        return sum(one.numel() * one.itemsize for one in (self.numbers, self.scales))

    def __call__(self, x: Tensor) -> Tensor:
        """See `engine.network.weights.Product`."""
        gpu = self._gpu
        if gpu is not None:
            if x.shape[0] <= gpu.MAX_ROWS:
                made: Tensor = gpu.product(x, self.numbers, self.scales, self.bias, self.shape[0])
                return made
            return self._made_wide(x)
        native = shared_kernels().ready() if self.numbers.device.type == "cpu" else None
        if native is None:
            return self._made_wide(x)
        if x.shape[0] > _FEW_ROWS and not multiplies_many(native):
            narrow = x.bfloat16()
            parts = [
                functional.linear(narrow, native.expand(self.held, first, count))
                for first, count in self._parts()
            ]
            made = torch.cat(parts, -1).to(x.dtype)
            return made if self.bias is None else made + self.bias
        return native.product(self.held, x)

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the matrix, (n, in) in float32."""
        ids = ids.to(self.numbers.device)
        return self._unpacked(ids // _BLOCK, ids % _BLOCK)[:, : self.shape[1]]

    def _made_wide(self, x: Tensor) -> Tensor:
        parts = [functional.linear(x, self._wide(*part, x.dtype)) for part in self._parts()]
        made = torch.cat(parts, -1)
        return made if self.bias is None else made + self.bias.to(x.dtype)

    def _wide(self, first: int, count: int, dtype: torch.dtype) -> Tensor:
        """Return rows of the matrix, (count, in) of a type."""
        if self._gpu is not None:
            wide: Tensor = self._gpu.expand(
                self.numbers, self.scales, first, count, self.shape[1], dtype
            )
            return wide
        return self.rows(torch.arange(first, first + count, device=self.numbers.device)).to(dtype)

    def _parts(self) -> list[tuple[int, int]]:
        rows, most = self.shape[0], _ROWS_AT_ONCE
        return [(first, min(most, rows - first)) for first in range(0, rows, most)]

    def _unpacked(self, blocks: Tensor, lanes: Tensor) -> Tensor:
        fours = self.numbers[blocks, :, lanes]  # (n, columns / 4 or / 8, 4)
        if self._bits == 8:
            return (fours.flatten(1).float() - 128) * self.scales[blocks, lanes, None]
        pairs = torch.stack([fours & 15, fours >> 4], 2).flatten(1).float() - 8
        scales = self.scales[blocks, :, lanes].float()
        return (pairs.view(len(pairs), -1, _COLUMNS) * scales[..., None]).flatten(1)


@cache
def _triton_products(bits: Bits, dtype: torch.dtype, device: torch.device) -> ModuleType | None:
    """Return the products for a GPU, ready for use; None where there are none."""
    try:
        # Not part of every torch, and slow to import.
        from engine.kernels import triton_products as triton_products

        triton_products.prepare(bits, dtype, device)
    except Exception as error:  # of Triton's many: no compiler for its launcher, no driver, ...
        log.warning(
            "Weights in %d bits are made wide for each product, which is slow. Triton products "
            "cannot be used: %s",
            bits,
            error,
        )
        return None
    return triton_products


def multiplies_many(native: Native) -> bool:
    """Whether the kernels are the fastest for many rows of activations.

    A matrix unit is faster, and without wide vectors so may torch be; both want weights that are
    made wide again.
    """
    return native.is_fast_for_many_rows(INT8) and not torch.cpu._is_amx_tile_supported()


def _quantise(weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    rows, columns = weight.shape
    padded = functional.pad(weight.float(), (0, -columns % _COLUMNS, 0, -rows % _BLOCK))
    numbers, scales = _eight(padded) if bits == 8 else _four(padded)
    return _packed(numbers, bits), scales


def _eight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers (out, in) with an offset of 128, and scales (blocks, 16)."""
    scales = weight.abs().amax(1).clamp(min=1e-30) / 127
    numbers = (weight / scales[:, None]).round() + 128
    return numbers.to(torch.uint8), scales.view(-1, _BLOCK).contiguous()


def _four(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers (out, in) with an offset of 8, and scales (blocks, groups, 16)."""
    groups = weight.view(len(weight), -1, _COLUMNS)
    most = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    scales = (most / -8).bfloat16()
    divisor = torch.where(scales == 0, 1.0, scales.float())
    numbers = ((groups / divisor).round() + 8).clamp(0, 15)
    by_block = scales.view(-1, _BLOCK, groups.shape[1]).transpose(1, 2).contiguous()
    return numbers.flatten(1).to(torch.uint8), by_block


def _packed(numbers: Tensor, bits: Bits) -> Tensor:
    """Return (blocks, columns / 4 or / 8, 16, 4) of bytes."""
    blocks, columns = len(numbers) // _BLOCK, numbers.shape[1]
    if bits == 8:
        return numbers.view(blocks, _BLOCK, columns // 4, 4).transpose(1, 2).contiguous()
    pairs = numbers.view(blocks, _BLOCK, columns // 8, 2, 4)
    bytes_: Tensor = pairs[..., 0, :] | pairs[..., 1, :] << 4
    return bytes_.transpose(1, 2).contiguous()
