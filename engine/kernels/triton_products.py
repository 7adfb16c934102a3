"""Products of 8-bit or 4-bit weights on a GPU, in Triton, for few rows of activations.

Import this module only on a machine with a GPU, since `triton` ships with torch's CUDA builds. The
weights have the layout of `engine.network.quantised`, which also suits a GPU. A block of 16 rows is
contiguous memory, in which each 32-bit word contains columns of one row, and sixteen neighbouring
words belong to sixteen rows. So neighbouring threads read neighbouring words.

One row is multiplied by `engine.kernels.triton_row_products`, more rows by matrix units, with tiles
for the number of rows. A product does no tuning and waits for nothing, so it can be captured in a
CUDA graph. `prepare` compiles all kernels before.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.kernels.triton_row_products import bits_of, row_product, scale_words, unpack_grids

MAX_ROWS = 32
"""Maximum rows of activations of `product`. For more, a product of expanded weights is faster."""

_BLOCK = 16
TILES = ((16, 128, 2, 3), (MAX_ROWS, 64, 4, 3))
"""Tiles as (maximum rows, words of weights, blocks of weights, pipeline stages).

With more rows, activations are read more often. So a program then computes more blocks. All tiles
fit 96 KB of shared memory, which every GPU from Ampere (2020) on has.
"""
EXPANDED_COLUMNS = 256
"""Columns that a program of `expand_kernel` converts."""

_MAGIC_BITS, _MAGIC_VALUE = tl.constexpr(0x4B000000), tl.constexpr(8388608.0)
"""The number 2^23 in float32, as bits and as value.

Its lowest bits count units. A small integer put there becomes a float when 2^23 is subtracted. A
conversion instruction takes at least four times as long on a GPU.
"""


@triton.jit(do_not_specialize=["rows", "columns", "outputs", "words"])
def product_kernel(
    x,
    numbers,
    scales,
    bias,
    y,
    rows,
    columns,
    outputs,
    words,
    BITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
    BLOCKS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute y (rows, outputs) = x (rows, columns) Wᵀ + bias for `BLOCKS` blocks of W.

    `numbers` are 32-bit words (blocks, words, 16), each with 32 / BITS columns. `scales` are
    float32 (blocks, 16), or with 4 bits 32-bit words (blocks, groups, 16) of scales and minima.
    """
    x_type = x.dtype.element_ty
    lane = tl.arange(0, 16 * BLOCKS)
    output = tl.program_id(0) * 16 * BLOCKS + lane
    is_output = output < tl.cdiv(outputs, 16) * 16
    block = (output // 16).to(tl.int64)
    row = tl.arange(0, ROWS)
    word = tl.arange(0, WORDS)
    sums = tl.zeros((ROWS, 16 * BLOCKS), tl.float32)
    for first in tl.range(0, words, WORDS, num_stages=STAGES):
        index = first + word
        offset = (block[None, :] * words + index[:, None]) * 16 + (lane % 16)[None, :]
        is_inside = (index < words)[:, None] & is_output[None, :]
        packed = tl.load(numbers + offset, mask=is_inside, other=0)
        if BITS == 4:
            # 32 columns, which are four words, have one scale.
            groups = tl.cdiv(words, 4)
            scale_offset = (block[None, :] * groups + (index // 4)[:, None]) * 16 + (lane % 16)[
                None, :
            ]
            scale, minimum = unpack_grids(tl.load(scales + scale_offset, mask=is_inside, other=0))
        for column in tl.static_range(32 // BITS):
            # With 4 bits, the two columns of a byte are four apart.
            shift = 8 * column if BITS == 8 else 8 * (column % 4) + 4 * (column // 4)
            bits = ((packed >> shift) & (2**BITS - 1)) | _MAGIC_BITS
            # 8-bit weights are stored with an offset.
            number = bits.to(tl.float32, bitcast=True) - (_MAGIC_VALUE + (128 if BITS == 8 else 0))
            x_column = index * (32 // BITS) + column
            x_mask = (row < rows)[:, None] & (x_column < columns)[None, :]
            values = tl.load(x + row[:, None] * columns + x_column[None, :], mask=x_mask, other=0.0)
            weight = number * scale + minimum if BITS == 4 else number
            sums = tl.dot(values, weight.to(x_type), sums, input_precision="ieee")
    if BITS == 8:
        sums = sums * tl.load(scales + output, mask=is_output, other=0.0)[None, :]
    is_stored = output < outputs
    if HAS_BIAS:
        sums += tl.load(bias + output, mask=is_stored, other=0.0).to(tl.float32)[None, :]
    tl.store(
        y + row[:, None] * outputs + output[None, :],
        sums.to(x_type),
        mask=(row < rows)[:, None] & is_stored[None, :],
    )


@triton.jit(do_not_specialize=["first", "words"])
def expand_kernel(
    numbers,
    scales,
    wide,
    first,
    columns,
    words,
    BITS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write some columns of one block's rows to `wide`, whose first row is that of block `first`.

    `numbers` are bytes (blocks, words, 16, 4), `scales` as those of `product_kernel`.
    """
    block = (first + tl.program_id(0)).to(tl.int64)
    row = tl.arange(0, 16)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    is_inside = (column < columns) & (row < 16)
    word = column // (32 // BITS)
    offset = ((block * words + word) * 16 + row) * 4 + column % 4
    number = tl.load(numbers + offset, is_inside, other=0).to(tl.int32)
    if BITS == 4:
        number = (number >> (4 * (column // 4 % 2))) & 15
        offset = (block * tl.cdiv(words, 4) + column // 32) * 16 + row
        scale, minimum = unpack_grids(tl.load(scales + offset, is_inside, other=0))
        value = number.to(tl.float32) * scale + minimum
    else:
        value = (number - 128).to(tl.float32) * tl.load(scales + block * 16 + row)
    target = (tl.program_id(0).to(tl.int64) * 16 + row) * columns + column
    tl.store(wide + target, value.to(wide.dtype.element_ty), is_inside)


def product(
    x: Tensor, numbers: Tensor, scales: Tensor, bias: Tensor | None, outputs: int
) -> Tensor:
    """Return Wx + b for `x` (n, in), n at most MAX_ROWS: (n, outputs), of the type of `x`.

    `numbers` and `scales` have the layout of `engine.network.quantised`. Sums are in float32.
    """
    if x.shape[0] == 1:
        return row_product(x, numbers, scales, bias, outputs)
    words = numbers.view(torch.int32)  # (blocks, words, 16, 1)
    y = torch.empty(x.shape[0], outputs, dtype=x.dtype, device=x.device)
    rows, tile_words, blocks, stages = next(tile for tile in TILES if x.shape[0] <= tile[0])
    grid = (triton.cdiv(triton.cdiv(outputs, _BLOCK), blocks),)
    product_kernel[grid](
        x.contiguous(),
        words,
        scale_words(scales),
        scales if bias is None else bias,
        y,
        x.shape[0],
        x.shape[1],
        outputs,
        words.shape[1],
        BITS=bits_of(scales),
        HAS_BIAS=bias is not None,
        ROWS=rows,
        WORDS=tile_words,
        BLOCKS=blocks,
        STAGES=stages,
    )
    return y


def expand(
    numbers: Tensor, scales: Tensor, first: int, count: int, columns: int, dtype: torch.dtype
) -> Tensor:
    """Return `count` rows of the weights as `dtype`: (count, columns).

    `first` must be a multiple of 16.
    """
    blocks = triton.cdiv(count, _BLOCK)
    wide = torch.empty(blocks * _BLOCK, columns, dtype=dtype, device=numbers.device)
    grid = (blocks, triton.cdiv(columns, EXPANDED_COLUMNS))
    expand_kernel[grid](
        numbers,
        scale_words(scales),
        wide,
        first // _BLOCK,
        columns,
        numbers.shape[1],
        BITS=bits_of(scales),
        COLUMNS=EXPANDED_COLUMNS,
    )
    return wide[:count]


def prepare(bits: int, dtype: torch.dtype, device: torch.device) -> None:
    """Compile the kernels for weights of `bits` bits and activations of `dtype`.

    The first time on a machine, that takes about ten seconds. Raises RuntimeError for a GPU without
    the required instructions (before Ampere, 2020), and any exception of Triton if compiling fails.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise RuntimeError("this GPU is older than Ampere (2020)")
    numbers = torch.zeros(1, bits, _BLOCK, 4, dtype=torch.uint8, device=device)
    scales = torch.zeros(1, _BLOCK, device=device)
    if bits == 4:
        scales = torch.zeros(1, 1, _BLOCK, 2, dtype=torch.bfloat16, device=device)
    for rows in (1, *(tile[0] for tile in TILES)):
        for bias in (None, torch.zeros(_BLOCK, dtype=dtype, device=device)):
            x = torch.zeros(rows, 32, dtype=dtype, device=device)
            product(x, numbers, scales, bias, _BLOCK)
    expand(numbers, scales, 0, _BLOCK, 32, dtype)
