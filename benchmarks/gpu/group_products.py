"""Experimental products of quantised weights and one row of integer activations, group by group.

Activations get 8 or 16 bits, with one scale per 128 values. A thread multiplies the 32 columns of a
group with `dp4a`, four columns per instruction, and only the sum of a group becomes a float. A
weight of 4 bits costs half an instruction, and one of 8 bits a quarter. With 16 bits, a second
`dp4a` multiplies the low bytes.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

_IS_INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))
"""Whether Triton's interpreter runs the kernels. It has no inline assembly."""
_LOW, _HIGH = tl.constexpr(0x0F0F0F0F), tl.constexpr(-0x0F0F0F10)


@triton.jit
def _multiply_bytes(weights, values, sums, IS_SIGNED: tl.constexpr):
    for byte in tl.static_range(4):
        value = (values >> (8 * byte)) & 255
        if IS_SIGNED:
            value = (value ^ 128) - 128
        sums += ((weights >> (8 * byte)) & 255) * value
    return sums


@triton.jit
def _dp4a(weights, values, sums, IS_SIGNED: tl.constexpr):
    """Return sums + the products of four unsigned weights and four values."""
    if _IS_INTERPRETED:
        return _multiply_bytes(weights, values, sums, IS_SIGNED)
    elif IS_SIGNED:
        return tl.inline_asm_elementwise(
            "dp4a.u32.s32 $0, $1, $2, $3;",
            "=r,r,r,r",
            [weights, values, sums],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    else:
        return tl.inline_asm_elementwise(
            "dp4a.u32.u32 $0, $1, $2, $3;",
            "=r,r,r,r",
            [weights, values, sums],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )


@triton.jit
def _prefetch(start, LINES: tl.constexpr):
    """Read `LINES` lines of 128 bytes into the second-level cache."""
    line = (start + tl.arange(0, LINES) * 32).to(tl.int64)
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
        "=r,l",
        [line],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit(do_not_specialize=["columns", "words_count"])
def quantise_kernel(
    x,
    words,
    scales,
    offsets,
    columns,
    words_count,
    BITS: tl.constexpr,
    PLANES: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Quantise 128 values of a row of x to `PLANES` bytes each. Two planes are for one row.

    `words` (PLANES, words_count) has four values per word: first the high bytes, then the low ones.
    `scales` is (groups of 128), `offsets` (groups of 32): minus the offset of the weights times the
    sum of the quantised values. With IS_EARLY, the next kernel may start before this is complete.
    """
    if IS_EARLY:
        gdc_launch_dependents()
    part = tl.program_id(0)
    row = tl.program_id(1)
    x += row * columns
    words += row * words_count
    scales += row * (words_count // 32)
    offsets += row * (words_count // 8)
    word = tl.arange(0, 32)
    byte = tl.arange(0, 4)
    column = part * 128 + word[:, None] * 4 + byte[None, :]
    value = tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.max(tl.abs(value), 1), 0), 1e-30) / (127 if PLANES == 1 else 32639)
    scaled = value / scale
    number = tl.where(scaled < 0, scaled - 0.5, scaled + 0.5).to(tl.int32)
    high = number if PLANES == 1 else number >> 8
    target = words + part * 32 + word
    tl.store(target, tl.sum((high & 255) << (8 * byte)[None, :], 1))
    if PLANES == 2:
        tl.store(target + words_count, tl.sum((number & 255) << (8 * byte)[None, :], 1))
    tl.store(scales + part, scale)
    sums = tl.sum(tl.reshape(tl.sum(number, 1), (4, 8)), 1)
    tl.store(offsets + part * 4 + byte, -sums * 2 ** (BITS - 1))


@triton.jit(do_not_specialize=["outputs", "groups", "x_count"])
def group_kernel(
    x_words,
    x_scales,
    x_offsets,
    numbers,
    scales,
    y,
    outputs,
    groups,
    x_count,
    BITS: tl.constexpr,
    PLANES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCKS: tl.constexpr,
    STAGES: tl.constexpr,
    IS_EVEN: tl.constexpr,
    LINES: tl.constexpr,
):
    """Compute y (outputs) = W x for `BLOCKS` blocks of 16 rows of W, `GROUPS` groups at a time.

    With IS_EVEN, both counts divide the sizes of W. With LINES, the kernel starts before the one
    that computes x is complete, and reads that many lines of each block in the meantime.
    """
    WORDS: tl.constexpr = BITS  # of a group of 32 columns
    lane = tl.arange(0, 16 * BLOCKS)
    output = tl.program_id(0) * 16 * BLOCKS + lane
    block = (output // 16).to(tl.int64)
    is_output = output < tl.cdiv(outputs, 16) * 16
    start = numbers + (block * groups * (WORDS * 16) + lane % 16)[None, :]
    scale_start = scales + (block * groups * 16 + lane % 16)[None, :]
    sums = tl.zeros((GROUPS, 16 * BLOCKS), tl.float32)
    if LINES > 0:
        gdc_launch_dependents()
        for number in tl.static_range(BLOCKS):
            own = (tl.program_id(0) * BLOCKS + number).to(tl.int64)
            if own * 16 < outputs:
                _prefetch(numbers + own * groups * (WORDS * 16), LINES)
        gdc_wait()
    for first in tl.range(0, groups, GROUPS, num_stages=STAGES):
        group = first + tl.arange(0, GROUPS)
        is_group = group < groups
        is_inside = is_group[:, None] & is_output[None, :]
        low = tl.zeros((GROUPS, 16 * BLOCKS), tl.int32)
        high = low
        low_2 = low
        high_2 = low
        for word in tl.static_range(WORDS):
            pointer = start + ((group * WORDS + word) * 16)[:, None]
            packed = tl.load(pointer) if IS_EVEN else tl.load(pointer, mask=is_inside, other=0)
            x_word = x_words + group * 8 + (word if BITS == 8 else 2 * word)
            if BITS == 8:
                low = _dp4a(packed, tl.load(x_word, is_group, 0)[:, None], low, True)
                if PLANES == 2:
                    value = tl.load(x_word + x_count, is_group, 0)[:, None]
                    low_2 = _dp4a(packed, value, low_2, False)
            else:
                packed_low, packed_high = packed & _LOW, packed & _HIGH
                low = _dp4a(packed_low, tl.load(x_word, is_group, 0)[:, None], low, True)
                high = _dp4a(packed_high, tl.load(x_word + 1, is_group, 0)[:, None], high, True)
                if PLANES == 2:
                    value = tl.load(x_word + x_count, is_group, 0)[:, None]
                    low_2 = _dp4a(packed_low, value, low_2, False)
                    value = tl.load(x_word + x_count + 1, is_group, 0)[:, None]
                    high_2 = _dp4a(packed_high, value, high_2, False)
        if PLANES == 2:
            low = low * 256 + low_2
            high = high * 256 + high_2
        offset = tl.load(x_offsets + group, is_group, 0)[:, None]
        whole = (low + (high >> 4) + offset).to(tl.float32)
        factor = tl.load(x_scales + group // 4, is_group, 0.0)[:, None]
        if BITS == 4:
            pointer = tl.max_contiguous(scale_start + (group * 16)[:, None], [1, 4])
            scale = tl.load(pointer) if IS_EVEN else tl.load(pointer, mask=is_inside, other=0.0)
            factor = factor * scale.to(tl.float32)
        sums += whole * factor
    result = tl.sum(sums, 0)
    if BITS == 8:
        result = result * tl.load(scales + output, mask=is_output, other=0.0)
    tl.store(y + output, result.to(y.dtype.element_ty), mask=output < outputs)


@triton.jit(do_not_specialize=["rows", "outputs", "groups", "x_count"])
def rows_kernel(
    x_words,
    x_scales,
    x_offsets,
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

    `x_words` is (rows, x_count), `x_scales` (rows, x_count / 32), `x_offsets` (rows, x_count / 8).
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
        offset = tl.load(x_offsets + row[:, None] * (x_count // 8) + group[None, :], is_value, 0)
        whole = tl.zeros((ROWS, GROUPS, 16 * BLOCKS), tl.int32) + offset[:, :, None]
        for word in tl.static_range(BITS):
            pointer = start + ((group * BITS + word) * 16)[:, None]
            packed = tl.load(pointer, mask=is_inside, other=0)
            if BITS == 8:
                value = tl.load(x_start + word, is_value, 0)[:, :, None]
                whole = _dp4a(packed[None, :, :], value, whole, True)
            else:
                value = tl.load(x_start + 2 * word, is_value, 0)[:, :, None]
                whole = _dp4a((packed & _LOW)[None, :, :], value, whole, True)
                value = tl.load(x_start + (2 * word + 1), is_value, 0)[:, :, None]
                whole = _dp4a(((packed >> 4) & _LOW)[None, :, :], value, whole, True)
        factor_start = x_scales + row[:, None] * (x_count // 32) + (group // 4)[None, :]
        factor = tl.load(factor_start, is_value, 0.0)[:, :, None]
        if BITS == 4:
            pointer = tl.max_contiguous(scale_start + (group * 16)[:, None], [1, 4])
            scale = tl.load(pointer, mask=is_inside, other=0.0).to(tl.float32)
            factor = factor * scale[None, :, :]
        sums += whole.to(tl.float32) * factor
    result = tl.sum(sums, 1)
    if BITS == 8:
        result = result * tl.load(scales + output, mask=is_output, other=0.0)[None, :]
    is_stored = (row < rows)[:, None] & (output < outputs)[None, :]
    target = y + row[:, None] * outputs + output[None, :]
    tl.store(target, result.to(y.dtype.element_ty), mask=is_stored)


def quantise(
    x: Tensor, bits: int, planes: int, *, early: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return words, scales and offsets of activations (rows, in); see `quantise_kernel`."""
    rows, columns = x.shape
    parts = triton.cdiv(columns, 128)
    words = torch.empty(rows * planes, parts * 32, dtype=torch.int32, device=x.device)
    scales = torch.empty(rows, parts, dtype=torch.float32, device=x.device)
    offsets = torch.empty(rows, parts * 4, dtype=torch.int32, device=x.device)
    quantise_kernel[(parts, rows)](
        x, words, scales, offsets, columns, parts * 32, BITS=bits, PLANES=planes, IS_EARLY=early,
        num_warps=1,
    )  # fmt: skip
    return words, scales, offsets


def product(
    x: tuple[Tensor, Tensor, Tensor],
    numbers: Tensor,
    scales: Tensor,
    y: Tensor,
    tile: tuple[int, ...],
) -> None:
    """Write W x to `y` (outputs). `x` is the result of `quantise`.

    `tile` is groups, blocks, stages and warps, and lines that are prefetched while the kernel that
    computes `x` runs. Without lines, the product starts after that.
    """
    groups, blocks, stages, warps, *lines = tile
    bits = 8 if scales.ndim == 2 else 4
    all_groups = numbers.shape[1] // bits
    all_blocks = triton.cdiv(y.numel(), 16)
    group_kernel[(triton.cdiv(all_blocks, blocks),)](
        *x,
        numbers.view(torch.int32),
        scales,
        y,
        y.numel(),
        all_groups,
        x[0].shape[1],
        BITS=bits,
        PLANES=x[0].shape[0],
        GROUPS=groups,
        BLOCKS=blocks,
        STAGES=stages,
        IS_EVEN=all_groups % groups == 0 and all_blocks % blocks == 0,
        LINES=lines[0] if lines else 0,
        num_warps=warps,
        launch_pdl=bool(lines),
    )


def rows_product(
    x: tuple[Tensor, Tensor, Tensor],
    numbers: Tensor,
    scales: Tensor,
    y: Tensor,
    tile: tuple[int, ...],
) -> None:
    """Write x Wᵀ to `y` (rows, outputs). `x` is the result of `quantise` with one plane.

    `tile` is groups, blocks, stages and warps.
    """
    groups, blocks, stages, warps = tile
    bits = 8 if scales.ndim == 2 else 4
    rows, outputs = y.shape
    rows_kernel[(triton.cdiv(triton.cdiv(outputs, 16), blocks),)](
        *x,
        numbers.view(torch.int32),
        scales,
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
