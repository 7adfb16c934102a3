"""Products of weights in 8 or 4 bits on a GPU, in Triton: few rows read the weights once.

Imported only where there is a GPU: `triton` comes with torch's builds for CUDA. The weights lie as
`engine.network.quantised` has them for the CPU. That suits a GPU too: a block of 16 rows is one
stretch of
memory, in which each 32-bit word holds columns of one row, and sixteen neighbours those of sixteen
rows; so neighbouring threads read neighbouring words.

Block sizes are fixed by the number of rows. Nothing is tuned, allocated beside the result, or
waited for, so a product can be captured in a CUDA graph; `prepare` compiles all there is before.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_ROWS = 32
"""Of activations; above, the arithmetic is worth a dense product."""

_BLOCK = 16
_SHAPES = ((1, 128, 1, 4), (16, 128, 2, 3), (MAX_ROWS, 64, 4, 3))
"""By rows of activations at most: words of a row and blocks of weights that a program takes at
once, and how many times as much is under way.

The more rows, the more often activations are read again, hence the wider share of a program. All
fit 64 KB of shared memory.
"""
_EXPANDED = 256
"""Columns that a program makes wide."""

_WIDE, _WIDE_IS = tl.constexpr(0x4B000000), tl.constexpr(8388608.0)
"""2^23 in float32, whose lowest bits count: with a small number put there, and 2^23 taken away
again, it is that number. Converting takes a GPU four times as long or more."""


@triton.jit(do_not_specialize=["rows", "columns", "outputs", "words"])
def _product(
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

    `numbers` (blocks, words, 16) are 32-bit words of 32 / BITS columns.
    """
    of_x = x.dtype.element_ty
    lane = tl.arange(0, 16 * BLOCKS)
    output = tl.program_id(0) * 16 * BLOCKS + lane
    there = output < tl.cdiv(outputs, 16) * 16
    block = (output // 16).to(tl.int64)
    row = tl.arange(0, ROWS)
    word = tl.arange(0, WORDS)
    if ROWS == 1:
        sums = tl.zeros((WORDS, 16 * BLOCKS), tl.float32)
    else:
        sums = tl.zeros((ROWS, 16 * BLOCKS), tl.float32)
    for first in tl.range(0, words, WORDS, num_stages=STAGES):
        at = first + word
        place = (block[None, :] * words + at[:, None]) * 16 + (lane % 16)[None, :]
        inside = (at < words)[:, None] & there[None, :]
        packed = tl.load(numbers + place, mask=inside, other=0)
        if BITS == 4:
            # 32 columns, four words, have one scale.
            groups = tl.cdiv(words, 4)
            of_group = (block[None, :] * groups + (at // 4)[:, None]) * 16 + (lane % 16)[None, :]
            scale = tl.load(scales + of_group, mask=inside, other=0.0).to(tl.float32)
        if ROWS == 1:
            of_words = tl.zeros((WORDS, 16 * BLOCKS), tl.float32)
        for column in tl.static_range(32 // BITS):
            # Of 4 bits, the columns of a byte are four apart.
            shift = 8 * column if BITS == 8 else 8 * (column % 4) + 4 * (column // 4)
            held = ((packed >> shift) & (2**BITS - 1)) | _WIDE
            number = held.to(tl.float32, bitcast=True) - (_WIDE_IS + 2 ** (BITS - 1))
            place_x = at * (32 // BITS) + column
            if ROWS == 1:
                value = tl.load(x + place_x, mask=place_x < columns, other=0.0).to(tl.float32)
                of_words += number * value[:, None]
            else:
                seen = (row < rows)[:, None] & (place_x < columns)[None, :]
                values = tl.load(
                    x + row[:, None] * columns + place_x[None, :], mask=seen, other=0.0
                )
                weight = number * scale if BITS == 4 else number
                sums = tl.dot(values, weight.to(of_x), sums, input_precision="ieee")
        if ROWS == 1:
            sums += of_words * scale if BITS == 4 else of_words
    result = tl.sum(sums, 0)[None, :] if ROWS == 1 else sums
    if BITS == 8:
        result = result * tl.load(scales + output, mask=there, other=0.0)[None, :]
    kept = output < outputs
    if HAS_BIAS:
        result += tl.load(bias + output, mask=kept, other=0.0).to(tl.float32)[None, :]
    tl.store(
        y + row[:, None] * outputs + output[None, :],
        result.to(of_x),
        mask=(row < rows)[:, None] & kept[None, :],
    )


@triton.jit(do_not_specialize=["first", "words"])
def _expand(
    numbers,
    scales,
    wide,
    first,
    columns,
    words,
    BITS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write some columns of one block's rows, from block `first`, in order.

    `numbers` (blocks, words, 16, 4) are bytes.
    """
    block = (first + tl.program_id(0)).to(tl.int64)
    row = tl.arange(0, 16)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (column < columns) & (row < 16)
    word = column // (32 // BITS)
    place = ((block * words + word) * 16 + row) * 4 + column % 4
    number = tl.load(numbers + place, inside, other=0).to(tl.int32)
    if BITS == 4:
        number = (number >> (4 * (column // 4 % 2))) & 15
        place = (block * tl.cdiv(words, 4) + column // 32) * 16 + row
        scale = tl.load(scales + place, inside, other=0.0).to(tl.float32)
    else:
        scale = tl.load(scales + block * 16 + row)
    value = (number - 2 ** (BITS - 1)).to(tl.float32) * scale
    to = (tl.program_id(0).to(tl.int64) * 16 + row) * columns + column
    tl.store(wide + to, value.to(wide.dtype.element_ty), inside)


def product(
    x: Tensor, numbers: Tensor, scales: Tensor, bias: Tensor | None, outputs: int
) -> Tensor:
    """Return Wx + b for the rows of `x` (n, in), at most MAX_ROWS: (n, outputs), of x's type.

    `numbers` and `scales` are as in `engine.network.quantised`; sums are in float32.
    """
    words = numbers.view(torch.int32)  # (blocks, words, 16, 1)
    y = torch.empty(x.shape[0], outputs, dtype=x.dtype, device=x.device)
    rows, of_row, blocks, stages = next(shape for shape in _SHAPES if x.shape[0] <= shape[0])
    grid = (triton.cdiv(triton.cdiv(outputs, _BLOCK), blocks),)
    _product[grid](
        x.contiguous(),
        words,
        scales,
        scales if bias is None else bias,
        y,
        x.shape[0],
        x.shape[1],
        outputs,
        words.shape[1],
        BITS=_bits(scales),
        HAS_BIAS=bias is not None,
        ROWS=rows,
        WORDS=of_row,
        BLOCKS=blocks,
        STAGES=stages,
    )
    return y


def expand(
    numbers: Tensor, scales: Tensor, first: int, count: int, columns: int, dtype: torch.dtype
) -> Tensor:
    """Return rows of the weights, from a multiple of 16 on: (count, columns) of a type."""
    blocks = triton.cdiv(count, _BLOCK)
    wide = torch.empty(blocks * _BLOCK, columns, dtype=dtype, device=numbers.device)
    grid = (blocks, triton.cdiv(columns, _EXPANDED))
    _expand[grid](
        numbers,
        scales,
        wide,
        first // _BLOCK,
        columns,
        numbers.shape[1],
        BITS=_bits(scales),
        COLUMNS=_EXPANDED,
    )
    return wide[:count]


def prepare(bits: int, dtype: torch.dtype, device: torch.device) -> None:
    """Compile what products of weights in 8 or 4 bits with activations of a type need.

    That takes some ten seconds on a machine that has not done it before. Raises whatever Triton
    does where it cannot; RuntimeError for a GPU without the instructions (before Ampere, 2020).
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise RuntimeError("this GPU is older than Ampere")
    numbers = torch.zeros(1, bits, _BLOCK, 4, dtype=torch.uint8, device=device)
    scales = torch.zeros(1, _BLOCK, device=device)
    if bits == 4:
        scales = torch.zeros(1, 1, _BLOCK, dtype=torch.bfloat16, device=device)
    for rows, *_ in _SHAPES:
        for bias in (None, torch.zeros(_BLOCK, dtype=dtype, device=device)):
            x = torch.zeros(rows, 32, dtype=dtype, device=device)
            product(x, numbers, scales, bias, _BLOCK)
    expand(numbers, scales, 0, _BLOCK, 32, dtype)


def _bits(scales: Tensor) -> int:
    return 8 if scales.ndim == 2 else 4
