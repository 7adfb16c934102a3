"""Products of 8-bit or 4-bit weights and one row of activations on a GPU, in Triton.

The activations first get 16 bits, with one scale per 128 values. Their rounding error is far below
that of bfloat16. The sum of a group of 32 columns is exact. Groups are scaled and added in float32.
One `dp4a` instruction multiplies four columns by the high or the low bytes of the activations. So a
4-bit weight costs less than one instruction, and the product is limited by memory.

A GPU from Hopper (2022) on starts the product while it still quantises the activations. In the
meantime, the product fetches its first weights into the second-level cache.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

TILES = {8: (32, 1, 4), 4: (64, 1, 8)}
"""By the number of bits: groups of columns that a program reads together, stages, and warps."""
FETCHED_LINES = 128
"""Cache lines of each program's weights that are fetched early."""

_BLOCK = 16
_PART = 128
"""Columns with one scale of activations."""
_IS_INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))
"""Whether Triton's interpreter runs the kernels. It has no assembly."""
_LOW, _HIGH = tl.constexpr(0x0F0F0F0F), tl.constexpr(-0x0F0F0F10)
"""Masks of the low and the high four bits of each byte."""


@triton.jit
def dp4a(weights, values, sums, IS_SIGNED: tl.constexpr):
    """Return sums + the products of the four unsigned bytes of `weights` and those of `values`."""
    if _IS_INTERPRETED:
        for byte in tl.static_range(4):
            value = (values >> (8 * byte)) & 255
            if IS_SIGNED:
                value = (value ^ 128) - 128
            sums += ((weights >> (8 * byte)) & 255) * value
        return sums
    else:
        return tl.inline_asm_elementwise(
            "dp4a.u32.s32 $0, $1, $2, $3;" if IS_SIGNED else "dp4a.u32.u32 $0, $1, $2, $3;",
            "=r,r,r,r",
            [weights, values, sums],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )


@triton.jit
def unpack_grids(words):
    """Return scales and minima of words that have both in bfloat16, the scale in the low bits."""
    scale = (words << 16).to(tl.float32, bitcast=True)
    return scale, (words & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _add_products(weights, x_word, is_group, high, low):
    """Return the sums of products of high and of low bytes, with four columns added."""
    bytes_of_x = tl.load(x_word, mask=is_group, other=0)
    high_bytes = (bytes_of_x >> 32).to(tl.int32)[:, None]
    low_bytes = bytes_of_x.to(tl.int32)[:, None]
    return dp4a(weights, high_bytes, high, True), dp4a(weights, low_bytes, low, False)


@triton.jit
def _fetch(start, lines, LINES: tl.constexpr):
    """Start to read `LINES` lines of 128 bytes, at most `lines`, into the second-level cache."""
    line = tl.minimum(tl.arange(0, LINES), lines - 1)
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
        "=r,l",
        [(start + line * 32).to(tl.int64)],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _keep_order(value):
    """Keep the compiler from moving loads that are above this to their first use below."""
    if not _IS_INTERPRETED:
        tl.inline_asm_elementwise(
            "bar.warp.sync 0xffffffff; mov.u32 $0, $1;",
            "=r,r",
            [value],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit(do_not_specialize=["columns"])
def quantise_kernel(
    x,
    x_words,
    x_scales,
    x_sums,
    columns,
    BITS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Quantise 128 values of x to 16 bits.

    `x_words` has 64 bits per 4 columns: four low bytes, then four high bytes. `x_scales` has one
    number per 128 columns. `x_sums` has one per 32 columns: the sum of the quantised values, and
    with 8 bits minus the offset of the weights times the sum. With IS_EARLY, the next kernel may
    start.
    """
    if IS_EARLY:
        gdc_launch_dependents()
    part = tl.program_id(0)
    word = tl.arange(0, 32)
    byte = tl.arange(0, 4)
    column = part * 128 + word[:, None] * 4 + byte[None, :]
    value = tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32)
    # The largest number is 127 * 256 + 127, so its high byte is not more than 127.
    scale = tl.maximum(tl.max(tl.max(tl.abs(value), 1), 0), 1e-30) / 32639
    scaled = value / scale
    number = tl.where(scaled < 0, scaled - 0.5, scaled + 0.5).to(tl.int32)
    low = tl.sum((number & 255).to(tl.int64) << (8 * byte)[None, :], 1)
    high = tl.sum(((number >> 8) & 255).to(tl.int64) << (8 * byte)[None, :], 1)
    tl.store(x_words + part * 32 + word, low | (high << 32))
    tl.store(x_scales + part, scale)
    sums = tl.sum(tl.reshape(tl.sum(number, 1), (4, 8)), 1)
    tl.store(x_sums + part * 4 + byte, -128 * sums if BITS == 8 else sums)


@triton.jit(do_not_specialize=["outputs", "groups"])
def row_kernel(
    x_words,
    x_scales,
    x_sums,
    numbers,
    scales,
    bias,
    y,
    outputs,
    groups,
    BITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GROUPS: tl.constexpr,
    STAGES: tl.constexpr,
    LINES: tl.constexpr,
):
    """Compute 16 numbers of y (outputs) = Wx + bias, with one block of W.

    `numbers` are 32-bit words (blocks, groups, BITS, 16), each with 32 / BITS columns. `scales` are
    float32 (blocks, 16), or with 4 bits 32-bit words (blocks, groups, 16) of scales and minima.
    With LINES, the kernel starts before x is complete, and first fetches that many lines of
    `numbers`.
    """
    lane = tl.arange(0, 16)
    output = tl.program_id(0) * 16 + lane
    block = tl.program_id(0).to(tl.int64)
    start = numbers + block * groups * (BITS * 16)
    if LINES > 0:
        _fetch(start, groups * (BITS // 2), LINES)
        gdc_wait()
    sums = tl.zeros((GROUPS, 16), tl.float32)
    for first in tl.range(0, groups, GROUPS, num_stages=STAGES):
        group = first + tl.arange(0, GROUPS)
        is_group = group < groups
        high = tl.zeros((GROUPS, 16), tl.int32)
        low, high_16, low_16 = high, high, high
        # All loads from memory start before the first product waits for one.
        loaded = ()
        for word in tl.static_range(BITS):
            offset = ((group * BITS + word) * 16)[:, None] + lane[None, :]
            packed = tl.load(start + offset, mask=is_group[:, None], other=0)
            loaded += (packed,)  # type: ignore[assignment]
        x_sum = tl.load(x_sums + group, mask=is_group, other=0)[:, None]
        scale = tl.load(x_scales + group // 4, mask=is_group, other=0.0)[:, None]
        if BITS == 4:
            offset = (block * groups + group)[:, None] * 16 + lane[None, :]
            # As many neighbours per thread as of weights: then threads need not exchange values.
            pointer = tl.max_contiguous(scales + offset, [1, 4])
            grids = tl.load(pointer, mask=is_group[:, None], other=0)
        if STAGES == 1:
            _keep_order(first)
        for word in tl.static_range(BITS):
            packed = loaded[word]
            x_word = x_words + group * 8 + word * (8 // BITS)
            if BITS == 8:
                high, low = _add_products(packed, x_word, is_group, high, low)
            else:
                high, low = _add_products(packed & _LOW, x_word, is_group, high, low)
                # The other four columns. Their weights and sums are 16 times as large.
                high_16, low_16 = _add_products(
                    packed & _HIGH, x_word + 1, is_group, high_16, low_16
                )
        whole = high * 256 + low
        if BITS == 4:
            whole += (high_16 * 256 + low_16) >> 4
            weight_scale, minimum = unpack_grids(grids)
            sums += (whole.to(tl.float32) * weight_scale + x_sum.to(tl.float32) * minimum) * scale
        else:
            sums += (whole + x_sum).to(tl.float32) * scale
    result = tl.sum(sums, 0)
    if BITS == 8:
        result *= tl.load(scales + output)
    is_stored = output < outputs
    if HAS_BIAS:
        result += tl.load(bias + output, mask=is_stored, other=0.0).to(tl.float32)
    tl.store(y + output, result.to(y.dtype.element_ty), mask=is_stored)


def quantise(x: Tensor, bits: int, *, is_early: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return words, scales and sums of activations `x` (1, in); see `quantise_kernel`.

    With `is_early`, the next kernel may start before the result is complete.
    """
    parts = triton.cdiv(x.numel(), _PART)
    words = torch.empty(parts * _PART // 4, dtype=torch.int64, device=x.device)
    scales = torch.empty(parts, dtype=torch.float32, device=x.device)
    sums = torch.empty(parts * 4, dtype=torch.int32, device=x.device)
    quantise_kernel[(parts,)](
        x.contiguous(),
        words,
        scales,
        sums,
        x.numel(),
        BITS=bits,
        IS_EARLY=is_early,
        num_warps=1,
    )
    return words, scales, sums


def multiply(
    x: tuple[Tensor, Tensor, Tensor],
    numbers: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    y: Tensor,
    tile: tuple[int, int, int],
    lines: int,
) -> None:
    """Write Wx + b to `y` (1, outputs), with `x` from `quantise` and a tile like `TILES`.

    With `lines`, start early and fetch that many cache lines first.
    """
    groups, stages, warps = tile
    bits = bits_of(scales)
    outputs = y.numel()
    row_kernel[(triton.cdiv(outputs, _BLOCK),)](
        *x,
        numbers.view(torch.int32),
        scale_words(scales),
        scales if bias is None else bias,
        y,
        outputs,
        numbers.shape[1] // bits,
        BITS=bits,
        HAS_BIAS=bias is not None,
        GROUPS=groups,
        STAGES=stages,
        LINES=lines,
        num_warps=warps,
        launch_pdl=lines > 0,
    )


def row_product(
    x: Tensor, numbers: Tensor, scales: Tensor, bias: Tensor | None, outputs: int
) -> Tensor:
    """Return Wx + b for `x` (1, in): (1, outputs), of the type of `x`.

    `numbers` and `scales` have the layout of `engine.network.quantised`.
    """
    bits = bits_of(scales)
    lines = FETCHED_LINES if can_start_early(x.device) else 0
    quantised = quantise(x, bits, is_early=lines > 0)
    y = torch.empty(1, outputs, dtype=x.dtype, device=x.device)
    multiply(quantised, numbers, scales, bias, y, TILES[bits], lines)
    return y


def bits_of(scales: Tensor) -> int:
    """Return the number of bits of the weights that have these scales."""
    return 8 if scales.ndim == 2 else 4


def scale_words(scales: Tensor) -> Tensor:
    """Return scales as the kernels take them: those of 4 bits with their minima in 32-bit words."""
    return scales if scales.ndim == 2 else scales.view(torch.int32)


@cache
def can_start_early(device: torch.device) -> bool:
    """Return whether a kernel can start before the previous one is complete."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
