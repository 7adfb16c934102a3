"""Products of weights in 8 or 4 bits, which `engine.network.quantise` rounds.

The CPU kernels quantise activations to 8 bits when a product is computed, with one scale per 64
values. The sums of such products are exact.
"""

from __future__ import annotations

import logging
from functools import cache
from itertools import repeat
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.native import Native
from engine.kernels.structures import INT4, INT8, NativeMatrix, matrix
from engine.network.backend import Backend
from engine.network.batch import DECODE_ROWS
from engine.network.quantise import BLOCK, GROUP, Bits, Grids, quantise

log = logging.getLogger(__name__)

CHUNK_ROWS = 2048
"""Number of matrix rows that are quantised or expanded at a time, to bound temporary memory."""
GPU_CHUNK_BYTES = 400_000_000
"""Bytes of expanded weights at a time on a GPU, where many small chunks take longer to launch than
to compute."""


class Quantised:
    """A `Product` of quantised weights. It is also a `Table`, for embeddings tied to the output."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        bits: Bits,
        backend: Backend | None = None,
        grids: Grids | None = None,
    ) -> None:
        """Quantise `weight` (out, in). Without a `backend` products use torch only.

        `grids` are those of weights that were already rounded to 4 bits; see `quantise`.
        """
        self.shape: tuple[int, int] = weight.shape[0], weight.shape[1]
        self.bias = bias
        self._bits = bits
        self._backend = backend or Backend()
        # In chunks: the temporary tensors are several times as large as the weights.
        weights = torch.split(weight, CHUNK_ROWS)
        parts = [None] * len(weights) if grids is None else grids.split(CHUNK_ROWS)
        chunks = list(map(quantise, weights, repeat(bits), parts))
        self.numbers = torch.cat([numbers for numbers, _ in chunks])
        """Quantised weights in bytes: (blocks, columns / 4 or columns / 8, 16, 4)."""
        self.scales = torch.cat([scales for _, scales in chunks])
        """Scales (blocks, 16) in 8 bits; scales and minima (blocks, groups, 16, 2) in 4 bits."""
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
        return self._unpacked(ids // BLOCK, ids % BLOCK)[:, : self.shape[1]]

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
        blocks = GPU_CHUNK_BYTES // (BLOCK * self.shape[1] * x.itemsize)
        return max(CHUNK_ROWS, blocks * BLOCK)

    def _chunks(self, size: int) -> list[tuple[int, int]]:
        """Return the first row and the number of rows of each chunk of `size` rows."""
        num_rows = self.shape[0]
        return [(first, min(size, num_rows - first)) for first in range(0, num_rows, size)]

    def _unpacked(self, blocks: Tensor, lanes: Tensor) -> Tensor:
        """Return the rows `lanes` of the `blocks`, (n, padded columns) in float32."""
        packed = self.numbers[blocks, :, lanes]  # (n, columns / 4 or / 8, 4)
        if self._bits == 8:
            return (packed.flatten(1).float() - 128) * self.scales[blocks, lanes, None]
        pairs = torch.stack([packed & 15, packed >> 4], 2).flatten(1).float()
        scales, minima = self.scales[blocks, :, lanes].float().unbind(-1)
        groups = pairs.view(len(pairs), -1, GROUP)
        return (groups * scales[..., None] + minima[..., None]).flatten(1)


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
