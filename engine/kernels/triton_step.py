"""The small operations of a decoding step on a GPU, in Triton.

A step of a 15.5 billion parameter model reads its weights in 10 ms on an H100. Without these
kernels the operations between the matrix products take another 2 ms: torch needs twelve kernels for
the attention of a layer and two for a norm, and each takes at least 2 microseconds.

All kernels work on the shapes of a bucket (`engine.network.static_step`), so they can be captured
in a CUDA graph. Import this module only where Triton is installed.
"""

from __future__ import annotations

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
    HAS_ADDITION: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write total = hidden + addition and its layer norm, for one row of `width` values."""
    column = tl.arange(0, WIDTH)
    mask = column < width
    offset = tl.program_id(0).to(tl.int64) * width + column
    x = tl.load(hidden + offset, mask=mask, other=0.0).to(tl.float32)
    if HAS_ADDITION:
        x += tl.load(addition + offset, mask=mask, other=0.0).to(tl.float32)
        # The norm is that of the rounded sum, as without this kernel.
        rounded = x.to(total.dtype.element_ty)
        tl.store(total + offset, rounded, mask=mask)
        x = rounded.to(tl.float32)
    mean = tl.sum(x, 0) / width
    centred = tl.where(mask, x - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 0) / width + epsilon)
    factor = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=mask, other=0.0).to(tl.float32)
    result = centred * scale * factor + shift
    tl.store(normed + offset, result.to(normed.dtype.element_ty), mask=mask)


@triton.jit
def store_kernel(mixed, places, cache, width, stride, dim, DIM: tl.constexpr):
    """Copy key and value of one row of `mixed` to its place in the cache of a layer.

    `cache` is (2, rows, dim), `stride` is the distance of keys and values in it.
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, DIM)
    mask = column < dim
    place = tl.load(places + row)
    source = mixed + row * (width + 2 * dim) + width + column
    target = cache + place * dim + column
    tl.store(target, tl.load(source, mask=mask, other=0.0), mask=mask)
    tl.store(target + stride, tl.load(source + dim, mask=mask, other=0.0), mask=mask)


@triton.jit(do_not_specialize=["span", "splits", "rows_per_sequence"])
def attention_kernel(
    mixed,
    cache,
    positions,
    bases,
    sums,
    statistics,
    width,
    stride,
    dim,
    heads,
    scale,
    span,
    splits,
    rows_per_sequence,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Attend with all heads of one row to `span` columns of its sequence.

    Writes the weighted sum of values (rows, splits, heads, dim) and, per head, the largest score
    and the sum of weights (rows, splits, 2, heads).
    """
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    head = tl.arange(0, HEADS)
    column = tl.arange(0, DIM)
    is_value = (head < heads)[:, None] & (column < dim)[None, :]
    position = tl.load(positions + row)
    base = tl.load(bases + row // rows_per_sequence * rows_per_sequence)
    offset = head[:, None] * dim + column[None, :]
    query = tl.load(mixed + row * (width + 2 * dim) + offset, mask=is_value, other=0.0)
    largest = tl.full((HEADS,), -float("inf"), tl.float32)
    total = tl.zeros((HEADS,), tl.float32)
    result = tl.zeros((HEADS, DIM), tl.float32)
    first = split * span
    end = tl.minimum(first + span, position + 1)
    for start in range(first, end, COLUMNS):
        place = start + tl.arange(0, COLUMNS)
        is_row = place < end
        mask = is_row[:, None] & (column < dim)[None, :]
        source = cache + (base + place)[:, None] * dim + column[None, :]
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
    tl.store(statistics + part * 2 * heads + head, largest, mask=head < heads)
    tl.store(statistics + (part * 2 + 1) * heads + head, total, mask=head < heads)


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
    hidden: Tensor, addition: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return hidden + addition and its layer norm, both (n, width)."""
    rows, width = hidden.shape
    total = hidden if addition is None else torch.empty_like(hidden)
    normed = torch.empty_like(hidden)
    add_norm_kernel[(rows,)](
        hidden,
        hidden if addition is None else addition,
        weight,
        bias,
        total,
        normed,
        width,
        epsilon,
        HAS_ADDITION=addition is not None,
        WIDTH=triton.next_power_of_2(width),
        num_warps=8 if width > 1024 else 4,
    )
    return total, normed


def attend(
    mixed: Tensor,
    cache: Tensor,
    inputs: Tensor,
    heads: int,
    scale: float,
    num_columns: int,
    rows_per_sequence: int,
) -> Tensor:
    """Write keys and values of each row to a layer's cache; return the attention output.

    `mixed` (n, width + 2 * dim) holds queries, keys and values, `cache` is (2, rows, dim). `inputs`
    (3, n) holds for each row its place in the cache, its position, and the first cache row of its
    sequence. The result is (n, width).
    """
    rows, dim = mixed.shape[0], cache.shape[2]
    width = heads * dim
    places, positions, bases = inputs.unbind()
    padded_dim = max(_MIN_DOT, triton.next_power_of_2(dim))
    stride = cache.stride(0)
    store_kernel[(rows,)](mixed, places, cache, width, stride, dim, DIM=padded_dim, num_warps=1)
    span, splits = _splits(num_columns)
    sums = torch.empty(rows, splits, width, dtype=torch.float32, device=mixed.device)
    statistics = torch.empty(rows, splits, 2, heads, dtype=torch.float32, device=mixed.device)
    attention_kernel[(rows, splits)](
        mixed,
        cache,
        positions,
        bases,
        sums,
        statistics,
        width,
        stride,
        dim,
        heads,
        scale,
        span,
        splits,
        rows_per_sequence,
        HEADS=max(_MIN_DOT, triton.next_power_of_2(heads)),
        DIM=padded_dim,
        COLUMNS=COLUMNS,
        num_warps=4,
    )
    output = torch.empty(rows, width, dtype=mixed.dtype, device=mixed.device)
    combine_kernel[(rows, heads)](
        sums,
        statistics,
        output,
        heads,
        dim,
        splits,
        DIM=padded_dim,
        MAX_SPLITS=MAX_SPLITS,
        num_warps=1,
    )
    return output


def _splits(num_columns: int) -> tuple[int, int]:
    """Return the columns of a split and the number of splits, a power of two."""
    splits = min(MAX_SPLITS, triton.next_power_of_2(triton.cdiv(num_columns, COLUMNS)))
    span = triton.cdiv(triton.cdiv(num_columns, splits), COLUMNS) * COLUMNS
    return span, splits


def prepare(width: int, heads: int, dtype: torch.dtype, device: torch.device) -> None:
    """Compile the kernels for a model, for steps of one row.

    The first time on a machine, that takes some seconds. Raises RuntimeError for a GPU without the
    required instructions (before Ampere, 2020), and any exception of Triton if compiling fails.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise RuntimeError("this GPU is older than Ampere (2020)")
    dim = width // heads
    hidden = torch.zeros(1, width, dtype=dtype, device=device)
    norm = torch.zeros(width, dtype=dtype, device=device)
    add_norm(hidden, None, norm, norm, 1e-5)
    add_norm(hidden, hidden, norm, norm, 1e-5)
    mixed = torch.zeros(1, width + 2 * dim, dtype=dtype, device=device)
    cache = torch.zeros(2, 1, dim, dtype=dtype, device=device)
    inputs = torch.zeros(3, 32, dtype=torch.int64, device=device)  # as aligned as in a step
    attend(mixed, cache, inputs[:, :1], heads, 1.0, 1, 1)
