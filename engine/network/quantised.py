"""Weights in 8 or 4 bits and their products.

- 8 bits: each row of a matrix has one scale, its largest magnitude divided by 127.
- 4 bits: each group of 32 columns of a row has one scale in bfloat16, such that the value of the
  largest magnitude becomes -8.

The CPU kernels quantise activations to 8 bits when a product is computed, with one scale per 128
values. The sums of such products are exact.

The numbers are stored in the order in which the kernels read them: blocks of 16 rows, in a block
groups of 4 columns, and of each row 4 bytes. A byte of 4-bit weights holds two columns that are
four apart, the earlier one in the low bits.
"""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.native import Native
from engine.kernels.structures import INT4, INT8, NativeMatrix, matrix
from engine.network.backend import Backend
from engine.network.batch import DECODE_ROWS

log = logging.getLogger(__name__)

Bits = Literal[8, 4]
"""Number of bits of a quantised weight."""

_BLOCK = 16
"""Number of rows in a block."""
_COLUMNS = 32
"""Number to a multiple of which columns are padded. In 4 bits it is also the size of a group."""
CHUNK_ROWS = 2048
"""Number of matrix rows that are quantised or expanded at a time, to bound temporary memory."""
GPU_CHUNK_BYTES = 400_000_000
"""Bytes of expanded weights at a time on a GPU, where many small chunks take longer to launch than
to compute."""


class Quantised:
    """A `Product` of quantised weights. It is also a `Table`, for embeddings tied to the output."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, bits: Bits, backend: Backend | None = None
    ) -> None:
        """Quantise `weight` (out, in). Without a `backend` products use torch only."""
        self.shape: tuple[int, int] = weight.shape[0], weight.shape[1]
        self.bias = bias
        self._bits = bits
        self._backend = backend or Backend()
        # In chunks: the temporary tensors are several times as large as the weights.
        chunks = [_quantise(chunk, bits) for chunk in torch.split(weight, CHUNK_ROWS)]
        self.numbers = torch.cat([numbers for numbers, _ in chunks])
        """Quantised weights in bytes: (blocks, columns / 4 or columns / 8, 16, 4)."""
        self.scales = torch.cat([scales for _, scales in chunks])
        """Scales: (blocks, 16) in 8 bits, (blocks, groups, 16) in 4 bits."""
        self._native_matrix: NativeMatrix | None = None
        self.triton: ModuleType | None = None
        """`engine.kernels.triton_products` if it can be used, else None."""
        if self.numbers.is_cuda:
            self.triton = triton_products_for(bits, weight.dtype, self.numbers.device)

    @property
    def native_matrix(self) -> NativeMatrix:
        """The matrix in the form that the CPU kernels take."""
        if self._native_matrix is None:
            kind = INT8 if self._bits == 8 else INT4
            self._native_matrix = matrix(kind, self.shape, self.numbers, self.scales, self.bias)
        return self._native_matrix

    @property
    def bytes(self) -> int:
        """Bytes of memory that weights and scales take."""
        return sum(tensor.numel() * tensor.itemsize for tensor in (self.numbers, self.scales))

    def __call__(self, x: Tensor) -> Tensor:
        """Return Wx + b; see `engine.network.weights.Product`."""
        triton = self.triton
        if triton is not None:
            if x.shape[0] > triton.MAX_ROWS:
                return self._expanded_product(x)
            output: Tensor = triton.product(x, self.numbers, self.scales, self.bias, self.shape[0])
            return output
        native = self._backend.native() if self.numbers.device.type == "cpu" else None
        if native is None:
            return self._expanded_product(x)
        if x.shape[0] > DECODE_ROWS and not is_fast_for_prefill(native):
            return self._bfloat16_product(x, native)
        return native.product(self.native_matrix, x)

    def rows(self, ids: Tensor) -> Tensor:
        """Return the rows (n, in) of the matrix with the indexes `ids`, in float32."""
        ids = ids.to(self.numbers.device)
        return self._unpacked(ids // _BLOCK, ids % _BLOCK)[:, : self.shape[1]]

    def _bfloat16_product(self, x: Tensor, native: Native) -> Tensor:
        """Multiply by weights that the kernels expand to bfloat16, chunk by chunk."""
        narrow = x.bfloat16()
        outputs = [
            functional.linear(narrow, native.expand(self.native_matrix, first, count))
            for first, count in self._chunks(CHUNK_ROWS)
        ]
        output = torch.cat(outputs, -1).to(x.dtype)
        return output if self.bias is None else output + self.bias

    def _expanded_product(self, x: Tensor) -> Tensor:
        """Multiply by weights that are expanded to the dtype of `x`, chunk by chunk."""
        outputs = [
            functional.linear(x, self._expanded(first, count, x.dtype))
            for first, count in self._chunks(self._expanded_rows(x))
        ]
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        return output if self.bias is None else output + self.bias.to(x.dtype)

    def _expanded(self, first: int, count: int, dtype: torch.dtype) -> Tensor:
        """Return `count` rows of the matrix from row `first` on: (count, in) in `dtype`."""
        if self.triton is not None:
            rows: Tensor = self.triton.expand(
                self.numbers, self.scales, first, count, self.shape[1], dtype
            )
            return rows
        return self.rows(torch.arange(first, first + count, device=self.numbers.device)).to(dtype)

    def _expanded_rows(self, x: Tensor) -> int:
        """Return the number of matrix rows that are expanded to the dtype of `x` at a time."""
        if self.triton is None:
            return CHUNK_ROWS
        blocks = GPU_CHUNK_BYTES // (_BLOCK * self.shape[1] * x.itemsize)
        return max(CHUNK_ROWS, blocks * _BLOCK)

    def _chunks(self, size: int) -> list[tuple[int, int]]:
        """Return the first row and the number of rows of each chunk of `size` rows."""
        num_rows = self.shape[0]
        return [(first, min(size, num_rows - first)) for first in range(0, num_rows, size)]

    def _unpacked(self, blocks: Tensor, lanes: Tensor) -> Tensor:
        """Return the rows `lanes` of the `blocks`, (n, padded columns) in float32."""
        packed = self.numbers[blocks, :, lanes]  # (n, columns / 4 or / 8, 4)
        if self._bits == 8:
            return (packed.flatten(1).float() - 128) * self.scales[blocks, lanes, None]
        pairs = torch.stack([packed & 15, packed >> 4], 2).flatten(1).float() - 8
        scales = self.scales[blocks, :, lanes].float()
        return (pairs.view(len(pairs), -1, _COLUMNS) * scales[..., None]).flatten(1)


@cache
def triton_products_for(bits: Bits, dtype: torch.dtype, device: torch.device) -> ModuleType | None:
    """Return the Triton products, ready for use, or None if they cannot be used."""
    try:
        # Triton is not part of every torch build, and it is slow to import.
        from engine.kernels import triton_products

        triton_products.prepare(bits, dtype, device)
    except Exception as error:  # Triton raises many kinds: no compiler, no driver, and others
        log.warning(
            "Weights in %d bits are expanded for each product, which is slow, because the Triton "
            "products cannot be used: %s",
            bits,
            error,
        )
        return None
    return triton_products


def is_fast_for_prefill(native: Native) -> bool:
    """Return whether the kernels are the fastest way to multiply many rows of activations.

    torch is faster on a processor with a matrix unit, and may be faster on one without wide
    vectors. It then multiplies by expanded weights.
    """
    return native.is_fast_for_many_rows(INT8) and not torch.cpu._is_amx_tile_supported()


def _quantise(weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    """Return packed numbers and scales of `weight` (out, in)."""
    rows, columns = weight.shape
    padded = functional.pad(weight.float(), (0, -columns % _COLUMNS, 0, -rows % _BLOCK))
    numbers, scales = _to_8_bits(padded) if bits == 8 else _to_4_bits(padded)
    return _packed(numbers, bits), scales


def _to_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers (out, in) with an offset of 128, and scales (blocks, 16)."""
    scales = weight.abs().amax(1).clamp(min=1e-30) / 127
    numbers = (weight / scales[:, None]).round() + 128
    return numbers.to(torch.uint8), scales.view(-1, _BLOCK).contiguous()


def _to_4_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers (out, in) with an offset of 8, and scales (blocks, groups, 16)."""
    groups = weight.view(len(weight), -1, _COLUMNS)
    largest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    scales = (largest / -8).bfloat16()
    divisor = torch.where(scales == 0, 1.0, scales.float())
    numbers = ((groups / divisor).round() + 8).clamp(0, 15)
    by_block = scales.view(-1, _BLOCK, groups.shape[1]).transpose(1, 2).contiguous()
    return numbers.flatten(1).to(torch.uint8), by_block


def _packed(numbers: Tensor, bits: Bits) -> Tensor:
    """Return numbers (out, in) in bytes: (blocks, columns / 4 or columns / 8, 16, 4)."""
    blocks, columns = len(numbers) // _BLOCK, numbers.shape[1]
    if bits == 8:
        return numbers.view(blocks, _BLOCK, columns // 4, 4).transpose(1, 2).contiguous()
    pairs = numbers.view(blocks, _BLOCK, columns // 8, 2, 4)
    packed: Tensor = pairs[..., 0, :] | pairs[..., 1, :] << 4
    return packed.transpose(1, 2).contiguous()
