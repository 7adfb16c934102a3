"""Experimental products of quantised weights and one row of 8-bit activations, by `dp4a`.

Activations get 8 bits with one scale per 128 values, as in the CPU kernels. One `dp4a` multiplies
four columns and adds them up, so a weight costs about one operation instead of five.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _dp4a(weights, values, sums):
    """Return sums + the products of four unsigned weights and four signed values."""
    return tl.inline_asm_elementwise(
        "dp4a.u32.s32 $0, $1, $2, $3;",
        "=r,r,r,r",
        [weights, values, sums],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def quantise_kernel(x, words, scales, offsets, columns, OFFSET: tl.constexpr, WORDS: tl.constexpr):
    """Quantise 128 values of x to 8 bits, four to a word.

    `words` (columns / 4), `scales` (columns / 128), and `offsets` (columns / (4 * WORDS)): minus
    OFFSET times the sum of the quantised values of WORDS words.
    """
    group = tl.program_id(0)
    word = tl.arange(0, 32)
    byte = tl.arange(0, 4)
    column = group * 128 + word[:, None] * 4 + byte[None, :]
    value = tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32)
    largest = tl.max(tl.max(tl.abs(value), 1), 0)
    scale = tl.maximum(largest, 1e-30) / 127
    scaled = value / scale
    number = tl.where(scaled < 0, scaled - 0.5, scaled + 0.5).to(tl.int32)
    packed = tl.sum((number & 255) << (8 * byte)[None, :], 1)
    tl.store(words + group * 32 + word, packed)
    tl.store(scales + group, scale)
    sums = tl.sum(tl.reshape(tl.sum(number, 1), (32 // WORDS, WORDS)), 1)
    part = tl.arange(0, 32 // WORDS)
    tl.store(offsets + group * (32 // WORDS) + part, -OFFSET * sums)


@triton.jit(do_not_specialize=["outputs", "words"])
def dp4a_kernel(
    x_words,
    x_scales,
    x_offsets,
    numbers,
    scales,
    bias,
    y,
    outputs,
    words,
    BITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    WORDS: tl.constexpr,
    BLOCKS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute y (outputs) = W x + bias for `BLOCKS` blocks of 16 rows of W."""
    lane = tl.arange(0, 16 * BLOCKS)
    output = tl.program_id(0) * 16 * BLOCKS + lane
    is_output = output < tl.cdiv(outputs, 16) * 16
    block = (output // 16).to(tl.int64)
    word = tl.arange(0, WORDS)
    sums = tl.zeros((WORDS, 16 * BLOCKS), tl.float32)
    for first in tl.range(0, words, WORDS, num_stages=STAGES):
        index = first + word
        offset = (block[None, :] * words + index[:, None]) * 16 + (lane % 16)[None, :]
        is_word = index < words
        is_inside = is_word[:, None] & is_output[None, :]
        packed = tl.load(numbers + offset, mask=is_inside, other=0)
        if BITS == 8:
            start = tl.load(x_offsets + index, mask=is_word, other=0)
            values = tl.load(x_words + index, mask=is_word, other=0)
            x_scale = tl.load(x_scales + index // 32, mask=is_word, other=0.0)
            whole = tl.zeros((WORDS, 16 * BLOCKS), tl.int32) + start[:, None]
            whole = _dp4a(packed, values[:, None] + tl.zeros_like(whole), whole)
            sums += whole.to(tl.float32) * x_scale[:, None]
        else:
            start = tl.load(x_offsets + index, mask=is_word, other=0)
            low = tl.load(x_words + 2 * index, mask=is_word, other=0)
            high = tl.load(x_words + 2 * index + 1, mask=is_word, other=0)
            x_scale = tl.load(x_scales + index // 16, mask=is_word, other=0.0)
            groups = tl.cdiv(words, 4)
            scale_offset = (block[None, :] * groups + (index // 4)[:, None]) * 16
            scale_offset += (lane % 16)[None, :]
            scale = tl.load(scales + scale_offset, mask=is_inside, other=0.0).to(tl.float32)
            whole = tl.zeros((WORDS, 16 * BLOCKS), tl.int32) + start[:, None]
            zeros = tl.zeros_like(whole)
            whole = _dp4a(packed & 0x0F0F0F0F, low[:, None] + zeros, whole)
            whole = _dp4a((packed >> 4) & 0x0F0F0F0F, high[:, None] + zeros, whole)
            sums += whole.to(tl.float32) * (scale * x_scale[:, None])
    result = tl.sum(sums, 0)
    if BITS == 8:
        result = result * tl.load(scales + output, mask=is_output, other=0.0)
    is_stored = output < outputs
    if HAS_BIAS:
        result += tl.load(bias + output, mask=is_stored, other=0.0).to(tl.float32)
    tl.store(y + output, result.to(y.dtype.element_ty), mask=is_stored)


def quantise(x: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return words, scales and offsets of one row of activations; see `quantise_kernel`."""
    columns = x.numel()
    groups = triton.cdiv(columns, 128)
    words_per_offset = 1 if bits == 8 else 2
    words = torch.empty(groups * 32, dtype=torch.int32, device=x.device)
    scales = torch.empty(groups, dtype=torch.float32, device=x.device)
    offsets = torch.empty(groups * 32 // words_per_offset, dtype=torch.int32, device=x.device)
    quantise_kernel[(groups,)](
        x,
        words,
        scales,
        offsets,
        columns,
        OFFSET=2 ** (bits - 1),
        WORDS=words_per_offset,
        num_warps=1,
    )
    return words, scales, offsets


def product(
    quantised: tuple[Tensor, Tensor, Tensor],
    numbers: Tensor,
    scales: Tensor,
    y: Tensor,
    tile: tuple[int, int, int, int],
) -> None:
    """Write W x to `y` (outputs); `tile` is words, blocks, stages and warps."""
    words, blocks, stages, warps = tile
    packed = numbers.view(torch.int32)
    bits = 8 if scales.ndim == 2 else 4
    grid = (triton.cdiv(triton.cdiv(y.numel(), 16), blocks),)
    dp4a_kernel[grid](
        *quantised,
        packed,
        scales,
        scales,
        y,
        y.numel(),
        packed.shape[1],
        BITS=bits,
        HAS_BIAS=False,
        WORDS=words,
        BLOCKS=blocks,
        STAGES=stages,
        num_warps=warps,
    )
