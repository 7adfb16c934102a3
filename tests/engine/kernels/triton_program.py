"""A program that compares Triton's products of quantised weights with plain arithmetic.

The products run on a GPU or, without one, in Triton's interpreter. For the interpreter,
TRITON_INTERPRET=1 must be set before Triton is imported. Prints the errors as one JSON object.
"""

import json
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from engine.kernels import triton_products as triton_products
from engine.network import quantised
from engine.network.quantised import Bits, Quantised

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = ((16, 32), (70, 1100), (24, 2080))
"""Shapes (out, in): less and more than one block of words, and sizes without common divisors."""
COUNTS = (2, 16, 29)
DTYPES = ("float32", "bfloat16", "float16")


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest number; infinity for NaN."""
    difference = (actual.double() - expected).abs().nan_to_num(torch.inf)
    return float(difference.max() / expected.abs().max())


def product_error(bits: Bits, dtype: torch.dtype) -> float:
    worst = 0.0
    for shape in SHAPES:
        bias = random(shape[0]).to(dtype) if shape[0] != 70 else None
        weights = Quantised(random(*shape), bias, bits)
        exact = weights.rows(torch.arange(shape[0])).double()
        for count in COUNTS:
            x = random(count, shape[1]).to(dtype)
            expected = x.double() @ exact.T + (0.0 if bias is None else bias.double())
            result = triton_products.product(x, weights.numbers, weights.scales, bias, shape[0])
            assert result.dtype is dtype
            worst = max(worst, relative_error(result, expected))
    return worst


def row_error(bits: Bits, dtype: torch.dtype) -> float:
    worst = 0.0
    for shape in SHAPES:
        bias = random(shape[0]).to(dtype) if shape[0] != 70 else None
        weights = Quantised(random(*shape), None, bits)
        # The largest values have different signs, and one part of 128 columns is zero.
        x = random(1, shape[1])
        x[:, 3], x[:, 4], x[:, 128:256] = 9, -9, 0
        x = x.to(dtype)
        expected = x.double() @ weights.rows(torch.arange(shape[0])).double().T
        result = triton_products.product(x, weights.numbers, weights.scales, bias, shape[0])
        assert result.dtype is dtype
        expected += 0.0 if bias is None else bias.double()
        worst = max(worst, relative_error(result, expected))
    return worst


def expand_error(bits: Bits, dtype: torch.dtype) -> float:
    worst = 0.0
    for rows, columns in SHAPES:
        weights = Quantised(random(rows, columns), None, bits)
        first = 16 if rows > 16 else 0
        wide = triton_products.expand(
            weights.numbers, weights.scales, first, rows - first, columns, dtype
        )
        expected = weights.rows(torch.arange(first, rows)).double()
        assert wide.shape == expected.shape
        worst = max(worst, relative_error(wide, expected))
    return worst


def call_error(bits: Bits, dtype: torch.dtype) -> float:
    """Return the error of calls as the network makes them: with few rows, and with many."""
    triton_products.prepare(bits, dtype, torch.device(DEVICE))
    quantised.CHUNK_ROWS, quantised.GPU_CHUNK_BYTES = 32, 0  # rows expanded together
    shape = (70, 160)
    weights = Quantised(random(*shape), random(shape[0]).to(dtype), bits)
    weights.triton = triton_products
    assert weights.bias is not None
    exact = weights.rows(torch.arange(shape[0])).double()
    worst = 0.0
    for count in (3, 40):
        x = random(count, shape[1]).to(dtype)
        result = weights(x)
        assert result.dtype is dtype
        worst = max(worst, relative_error(result, x.double() @ exact.T + weights.bias.double()))
    return worst


def fix_the_interpreter() -> None:
    """Make its dot product support bfloat16, whose bits it would multiply as integers."""
    plain = interpreter.InterpreterBuilder.create_dot

    def widened(builder: Any, x: Any) -> Any:
        return builder.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return plain(self, widened(self, a), widened(self, b), *rest)

    interpreter.InterpreterBuilder.create_dot = create_dot


def main() -> None:
    if DEVICE == "cpu":
        fix_the_interpreter()
    errors = {
        f"{check.__name__} {bits} {dtype}": check(bits, getattr(torch, dtype))
        for check in (product_error, row_error, expand_error, call_error)
        for bits in (8, 4)
        for dtype in DTYPES
    }
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
