"""Experimental products of quantised weights and a few rows of 8-bit activations.

Activations get 8 bits, with one scale per 128 values. `dp4a` multiplies four columns per
instruction, and only the sum of a group of 32 columns becomes a float. For 4 rows these products
took 0.4 to 0.85 of the time of the engine's on an H100, with a larger error: their activations
have 8 bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.kernels.triton_row_products import bits_of, dp4a, scale_words, unpack_grids

_LOW = tl.constexpr(0x0F0F0F0F)


@triton.jit(do_not_specialize=["columns", "words_count"])
def quantise_kernel(x, words, scales, x_sums, columns, words_count, BITS: tl.constexpr):
    """Quantise 128 values of a row of x to 8 bits.

    `words` (rows, words_count) has four values per word. `scales` is (rows, groups of 128),
    `x_sums` (rows, groups of 32): the sum of the values, and with 8 bits minus the offset of the
    weights times the sum.
    """
    part = tl.program_id(0)
    row = tl.program_id(1)
    x += row * columns
    words += row * words_count
    scales += row * (words_count // 32)
    x_sums += row * (words_count // 8)
    word = tl.arange(0, 32)
    byte = tl.arange(0, 4)
    column = part * 128 + word[:, None] * 4 + byte[None, :]
    value = tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.max(tl.abs(value), 1), 0), 1e-30) / 127
    scaled = value / scale
    number = tl.where(scaled < 0, scaled - 0.5, scaled + 0.5).to(tl.int32)
    tl.store(words + part * 32 + word, tl.sum((number & 255) << (8 * byte)[None, :], 1))
    tl.store(scales + part, scale)
    sums = tl.sum(tl.reshape(tl.sum(number, 1), (4, 8)), 1)
    tl.store(x_sums + part * 4 + byte, -128 * sums if BITS == 8 else sums)


@triton.jit(do_not_specialize=["rows", "outputs", "groups", "x_count"])
def rows_kernel(
    x_words,
    x_scales,
    x_sums,
    numbers,
    scales,
    y,
    rows,
    outputs,
    groups,
    x_count,
    BITS: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCKS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute y (rows, outputs) = x Wᵀ for up to `ROWS` rows of 8-bit activations.

    `x_words` is (rows, x_count), `x_scales` (rows, x_count / 32), `x_sums` (rows, x_count / 8).
    """
    lane = tl.arange(0, 16 * BLOCKS)
    output = tl.program_id(0) * 16 * BLOCKS + lane
    block = (output // 16).to(tl.int64)
    is_output = output < tl.cdiv(outputs, 16) * 16
    start = numbers + (block * groups * (BITS * 16) + lane % 16)[None, :]
    scale_start = scales + (block * groups * 16 + lane % 16)[None, :]
    row = tl.arange(0, ROWS)
    sums = tl.zeros((ROWS, GROUPS, 16 * BLOCKS), tl.float32)
    for first in tl.range(0, groups, GROUPS, num_stages=STAGES):
        group = first + tl.arange(0, GROUPS)
        is_group = group < groups
        is_inside = is_group[:, None] & is_output[None, :]
        is_value = (row < rows)[:, None] & is_group[None, :]
        x_start = x_words + row[:, None] * x_count + (group * 8)[None, :]
        x_sum = tl.load(x_sums + row[:, None] * (x_count // 8) + group[None, :], is_value, 0)
        whole = tl.zeros((ROWS, GROUPS, 16 * BLOCKS), tl.int32)
        for word in tl.static_range(BITS):
            pointer = start + ((group * BITS + word) * 16)[:, None]
            packed = tl.load(pointer, mask=is_inside, other=0)
            if BITS == 8:
                value = tl.load(x_start + word, is_value, 0)[:, :, None]
                whole = dp4a(packed[None, :, :], value, whole, True)
            else:
                value = tl.load(x_start + 2 * word, is_value, 0)[:, :, None]
                whole = dp4a((packed & _LOW)[None, :, :], value, whole, True)
                value = tl.load(x_start + (2 * word + 1), is_value, 0)[:, :, None]
                whole = dp4a(((packed >> 4) & _LOW)[None, :, :], value, whole, True)
        factor_start = x_scales + row[:, None] * (x_count // 32) + (group // 4)[None, :]
        factor = tl.load(factor_start, is_value, 0.0)[:, :, None]
        if BITS == 4:
            pointer = tl.max_contiguous(scale_start + (group * 16)[:, None], [1, 4])
            scale, minimum = unpack_grids(tl.load(pointer, mask=is_inside, other=0))
            offset = x_sum.to(tl.float32)[:, :, None] * minimum[None, :, :]
            sums += (whole.to(tl.float32) * scale[None, :, :] + offset) * factor
        else:
            sums += (whole + x_sum[:, :, None]).to(tl.float32) * factor
    result = tl.sum(sums, 1)
    if BITS == 8:
        result = result * tl.load(scales + output, mask=is_output, other=0.0)[None, :]
    is_stored = (row < rows)[:, None] & (output < outputs)[None, :]
    target = y + row[:, None] * outputs + output[None, :]
    tl.store(target, result.to(y.dtype.element_ty), mask=is_stored)


def quantise(x: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return words, scales and sums of activations (rows, in); see `quantise_kernel`."""
    rows, columns = x.shape
    parts = triton.cdiv(columns, 128)
    words = torch.empty(rows, parts * 32, dtype=torch.int32, device=x.device)
    scales = torch.empty(rows, parts, dtype=torch.float32, device=x.device)
    sums = torch.empty(rows, parts * 4, dtype=torch.int32, device=x.device)
    quantise_kernel[(parts, rows)](
        x, words, scales, sums, columns, parts * 32, BITS=bits, num_warps=1
    )
    return words, scales, sums


def rows_product(
    x: tuple[Tensor, Tensor, Tensor],
    numbers: Tensor,
    scales: Tensor,
    y: Tensor,
    tile: tuple[int, ...],
) -> None:
    """Write x Wᵀ to `y` (rows, outputs). `x` is the result of `quantise`.

    `tile` is groups, blocks, stages and warps.
    """
    groups, blocks, stages, warps = tile
    bits = bits_of(scales)
    rows, outputs = y.shape
    rows_kernel[(triton.cdiv(triton.cdiv(outputs, 16), blocks),)](
        *x,
        numbers.view(torch.int32),
        scale_words(scales),
        y,
        rows,
        outputs,
        numbers.shape[1] // bits,
        x[0].shape[1],
        BITS=bits,
        ROWS=triton.next_power_of_2(rows),
        GROUPS=groups,
        BLOCKS=blocks,
        STAGES=stages,
        num_warps=warps,
    )
