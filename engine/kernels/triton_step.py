"""The small operations of a decoding step on a GPU, in Triton.

A step of a 15.5 billion parameter model reads its weights in 10 ms on an H100. Without these
kernels the operations between the matrix products take another 2 ms: torch needs twelve kernels for
the attention of a layer and two for a norm, and each takes at least 2 microseconds.

All kernels work on the shapes of a bucket (`engine.network.static_step`), so they can be captured
in a CUDA graph. Import this module only where Triton is installed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

_MIN_DOT = 16
"""Smallest side of a matrix that `tl.dot` multiplies."""
COLUMNS = 64
"""Columns of the cache that a program of `attention_kernel` reads at a time."""
MAX_SPLITS = 32
"""Maximum number of programs that share the columns of a row."""


NO_WINDOW = 1 << 30
"""A window that no sequence reaches."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What the attention of a layer does with its heads."""

    heads: int
    scale: float
    """Factor of the attention scores."""
    rotations: Tensor | None = None
    """Rotations (positions, dim) of queries and keys, or None; see `engine.network.rotary`."""
    query_norm: Tensor | None = None
    """Weights (dim,) of an RMSNorm of each query head, or None."""
    key_norm: Tensor | None = None
    epsilon: float = 0.0
    """Epsilon of these norms."""
    window: int | None = None
    """Number of positions that a query sees, None for all."""


@triton.jit
def add_norm_kernel(
    hidden,
    addition,
    weight,
    bias,
    total,
    normed,
    width,
    epsilon,
    addition_scale,
    HAS_ADDITION: tl.constexpr,
    IS_RMS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write total = hidden + scaled addition and its norm, for one row of `width` values."""
    column = tl.arange(0, WIDTH)
    mask = column < width
    offset = tl.program_id(0).to(tl.int64) * width + column
    x = tl.load(hidden + offset, mask=mask, other=0.0).to(tl.float32)
    if HAS_ADDITION:
        x += tl.load(addition + offset, mask=mask, other=0.0).to(tl.float32) * addition_scale
        # The norm is that of the rounded sum, as without this kernel.
        rounded = x.to(total.dtype.element_ty)
        tl.store(total + offset, rounded, mask=mask)
        x = rounded.to(tl.float32)
    if not IS_RMS:
        x = tl.where(mask, x - tl.sum(x, 0) / width, 0.0)
    scale = 1 / tl.sqrt(tl.sum(x * x, 0) / width + epsilon)
    factor = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    result = x * scale * factor
    if not IS_RMS:
        result += tl.load(bias + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(normed + offset, result.to(normed.dtype.element_ty), mask=mask)


@triton.jit
def place_kernel(
    mixed,
    places,
    positions,
    rotations,
    query_norm,
    key_norm,
    cache,
    stride,
    head_stride,
    dim,
    heads,
    kv_heads,
    first_head,
    epsilon,
    HAS_ROTATIONS: tl.constexpr,
    HAS_NORMS: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """Normalize and rotate one head of one row; write a key or value to its place in the cache.

    `mixed` has the heads of queries, keys and values. Queries are changed in place. `cache` is
    (2, kv_heads, rows, dim), with the distances `stride` and `head_stride`.
    """
    row, head = tl.program_id(0).to(tl.int64), first_head + tl.program_id(1)
    column = 2 * tl.arange(0, PAIRS)
    first_mask, second_mask = column < dim, column + 1 < dim
    num_heads = heads + 2 * kv_heads
    source = mixed + (row * num_heads + head) * dim + column
    first = tl.load(source, mask=first_mask, other=0.0)
    second = tl.load(source + 1, mask=second_mask, other=0.0)
    if HAS_ROTATIONS or HAS_NORMS:
        x, y = first.to(tl.float32), second.to(tl.float32)
        is_value = head >= heads + kv_heads
        if HAS_NORMS:
            scale = 1 / tl.sqrt(tl.sum(x * x + y * y, 0) / dim + epsilon)
            weights = tl.where(head < heads, query_norm, key_norm) + column
            x_weight = tl.load(weights, mask=first_mask, other=0.0).to(tl.float32)
            y_weight = tl.load(weights + 1, mask=second_mask, other=0.0).to(tl.float32)
            x = tl.where(is_value, x, x * scale * x_weight)
            y = tl.where(is_value, y, y * scale * y_weight)
        if HAS_ROTATIONS:
            angle = rotations + tl.load(positions + row) * dim + column
            cosine = tl.where(is_value, 1.0, tl.load(angle, mask=first_mask, other=1.0))
            sine = tl.where(is_value, 0.0, tl.load(angle + 1, mask=second_mask, other=0.0))
            x, y = x * cosine - y * sine, y * cosine + x * sine
        first, second = x.to(first.dtype), y.to(second.dtype)
    if head < heads:
        tl.store(source, first, mask=first_mask)
        tl.store(source + 1, second, mask=second_mask)
    else:
        kv_head = head - heads
        target = cache + (kv_head // kv_heads) * stride + (kv_head % kv_heads) * head_stride
        target += tl.load(places + row) * dim + column
        tl.store(target, first, mask=first_mask)
        tl.store(target + 1, second, mask=second_mask)


@triton.jit(do_not_specialize=["window", "span", "splits", "rows_per_sequence"])
def attention_kernel(
    mixed,
    cache,
    positions,
    bases,
    sums,
    statistics,
    stride,
    head_stride,
    dim,
    heads,
    kv_heads,
    scale,
    window,
    span,
    splits,
    rows_per_sequence,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Attend with the heads of one row that share a key/value head to `span` columns.

    Writes the weighted sum of values (rows, splits, heads, dim) and, per head, the largest score
    and the sum of weights (rows, splits, 2, heads).
    """
    row, split, kv_head = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    group = heads // kv_heads
    member = tl.arange(0, GROUP)
    head = kv_head * group + member
    column = tl.arange(0, DIM)
    is_member = member < group
    is_value = is_member[:, None] & (column < dim)[None, :]
    position = tl.load(positions + row)
    base = tl.load(bases + row // rows_per_sequence * rows_per_sequence)
    offset = head[:, None] * dim + column[None, :]
    query = tl.load(mixed + row * (heads + 2 * kv_heads) * dim + offset, mask=is_value, other=0.0)
    largest = tl.full((GROUP,), -float("inf"), tl.float32)
    total = tl.zeros((GROUP,), tl.float32)
    result = tl.zeros((GROUP, DIM), tl.float32)
    end = tl.minimum(split * span + span, position + 1)
    first = tl.maximum(split * span, position + 1 - window)
    for start in range(first, end, COLUMNS):
        place = start + tl.arange(0, COLUMNS)
        is_row = place < end
        mask = is_row[:, None] & (column < dim)[None, :]
        source = cache + kv_head * head_stride + (base + place)[:, None] * dim + column[None, :]
        keys = tl.load(source, mask=mask, other=0.0)
        scores = tl.dot(query, tl.trans(keys), input_precision="ieee") * scale
        scores = tl.where(is_row[None, :], scores, -float("inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp(scores - new_largest[:, None])
        decay = tl.exp(largest - new_largest)
        total = total * decay + tl.sum(weights, 1)
        values = tl.load(source + stride, mask=mask, other=0.0)
        added = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        result = result * decay[:, None] + added
        largest = new_largest
    part = row * splits + split
    tl.store(sums + part * heads * dim + offset, result, mask=is_value)
    tl.store(statistics + part * 2 * heads + head, largest, mask=is_member)
    tl.store(statistics + (part * 2 + 1) * heads + head, total, mask=is_member)


@triton.jit(do_not_specialize=["splits"])
def combine_kernel(
    sums, statistics, output, heads, dim, splits, DIM: tl.constexpr, MAX_SPLITS: tl.constexpr
):
    """Combine the splits of one head of one row; write its attention output."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    split = tl.arange(0, MAX_SPLITS)
    column = tl.arange(0, DIM)
    part = row * splits + split
    is_part = split < splits
    largest = tl.load(statistics + part * 2 * heads + head, mask=is_part, other=-float("inf"))
    total = tl.load(statistics + (part * 2 + 1) * heads + head, mask=is_part, other=0.0)
    share = tl.exp(largest - tl.max(largest, 0))
    mask = (column < dim)[None, :] & (total > 0)[:, None]
    offset = (part[:, None] * heads + head) * dim + column[None, :]
    result = tl.sum(tl.load(sums + offset, mask=mask, other=0.0) * share[:, None], 0)
    result = result / tl.sum(total * share, 0)
    target = output + (row * heads + head) * dim + column
    tl.store(target, result.to(output.dtype.element_ty), mask=column < dim)


def add_norm(
    hidden: Tensor,
    addition: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    epsilon: float,
    addition_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return hidden + addition * scale and its norm, both (n, width).

    The norm is LayerNorm, or RMSNorm without a `bias`.
    """
    rows, width = hidden.shape
    total = hidden if addition is None else torch.empty_like(hidden)
    normed = torch.empty_like(hidden)
    add_norm_kernel[(rows,)](
        hidden,
        hidden if addition is None else addition,
        weight,
        weight if bias is None else bias,
        total,
        normed,
        width,
        epsilon,
        addition_scale,
        HAS_ADDITION=addition is not None,
        IS_RMS=bias is None,
        WIDTH=triton.next_power_of_2(width),
        num_warps=8 if width > 1024 else 4,
    )
    return total, normed


def attend(
    mixed: Tensor,
    cache: Tensor,
    inputs: Tensor,
    heads: Heads,
    num_columns: int,
    rows_per_sequence: int,
) -> Tensor:
    """Write keys and values of each row to a layer's cache; return the attention output.

    `mixed` (n, (heads + 2 * kv_heads) * dim) holds queries, keys and values; its queries are
    changed. `cache` is (2, kv_heads, rows, dim). `inputs` (3, n) holds for each row its place in
    the cache, its position, and the first cache row of its sequence. The result is
    (n, heads * dim).
    """
    rows, (_, kv_heads, _, dim) = mixed.shape[0], cache.shape
    _, positions, bases = inputs.unbind()
    padded_dim = max(_MIN_DOT, triton.next_power_of_2(dim))
    _place(mixed, cache, inputs, heads)
    span, splits = _splits(num_columns)
    width, device = heads.heads * dim, mixed.device
    sums = torch.empty(rows, splits, width, dtype=torch.float32, device=device)
    statistics = torch.empty(rows, splits, 2, heads.heads, dtype=torch.float32, device=device)
    attention_kernel[(rows, splits, kv_heads)](
        mixed,
        cache,
        positions,
        bases,
        sums,
        statistics,
        cache.stride(0),
        cache.stride(1),
        dim,
        heads.heads,
        kv_heads,
        heads.scale,
        NO_WINDOW if heads.window is None else heads.window,
        span,
        splits,
        rows_per_sequence,
        GROUP=max(_MIN_DOT, triton.next_power_of_2(heads.heads // kv_heads)),
        DIM=padded_dim,
        COLUMNS=COLUMNS,
        num_warps=4,
    )
    output = torch.empty(rows, width, dtype=mixed.dtype, device=device)
    combine_kernel[(rows, heads.heads)](
        sums,
        statistics,
        output,
        heads.heads,
        dim,
        splits,
        DIM=padded_dim,
        MAX_SPLITS=MAX_SPLITS,
        num_warps=1,
    )
    return output


def _place(mixed: Tensor, cache: Tensor, inputs: Tensor, heads: Heads) -> None:
    """Write keys and values to the cache; normalize and rotate queries and keys."""
    _, kv_heads, _, dim = cache.shape
    places, positions, _ = inputs.unbind()
    changes_queries = heads.rotations is not None or heads.query_norm is not None
    first_head = 0 if changes_queries else heads.heads
    place_kernel[(mixed.shape[0], heads.heads + 2 * kv_heads - first_head)](
        mixed,
        places,
        positions,
        mixed if heads.rotations is None else heads.rotations,
        mixed if heads.query_norm is None else heads.query_norm,
        mixed if heads.key_norm is None else heads.key_norm,
        cache,
        cache.stride(0),
        cache.stride(1),
        dim,
        heads.heads,
        kv_heads,
        first_head,
        heads.epsilon,
        HAS_ROTATIONS=heads.rotations is not None,
        HAS_NORMS=heads.query_norm is not None,
        PAIRS=triton.next_power_of_2(triton.cdiv(dim, 2)),
        num_warps=1,
    )


def _splits(num_columns: int) -> tuple[int, int]:
    """Return the columns of a split and the number of splits, a power of two."""
    splits = min(MAX_SPLITS, triton.next_power_of_2(triton.cdiv(num_columns, COLUMNS)))
    span = triton.cdiv(triton.cdiv(num_columns, splits), COLUMNS) * COLUMNS
    return span, splits


def check_device(device: torch.device) -> None:
    """Raise RuntimeError for a GPU without the required instructions (before Ampere, 2020)."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise RuntimeError("this GPU is older than Ampere (2020)")
