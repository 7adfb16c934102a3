"""Run as a program: how far Triton's products of quantised weights are from plain arithmetic.

On a GPU they run there; without one, in Triton's interpreter, which must be told by the environment
(TRITON_INTERPRET=1) before Triton is imported. Prints one JSON object.
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
"""(out, in): less than a block of words and more than one, sides that nothing divides."""
COUNTS = (1, 2, 16, 29)
DTYPES = ("float32", "bfloat16", "float16")


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE)


def distance(made: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((made.double() - expected).abs().max() / expected.abs().max())


def of_products(bits: Bits, dtype: torch.dtype) -> float:
    worst = 0.0
    for shape in SHAPES:
        bias = random(shape[0]).to(dtype) if shape[0] != 70 else None
        held = Quantised(random(*shape), bias, bits)
        kept = held.rows(torch.arange(shape[0])).double()
        for count in COUNTS:
            x = random(count, shape[1]).to(dtype)
            expected = x.double() @ kept.T + (0.0 if bias is None else bias.double())
            made = triton_products.product(x, held.numbers, held.scales, bias, shape[0])
            assert made.dtype is dtype
            worst = max(worst, distance(made, expected))
    return worst


def of_weights(bits: Bits, dtype: torch.dtype) -> float:
    worst = 0.0
    for rows, columns in SHAPES:
        held = Quantised(random(rows, columns), None, bits)
        first = 16 if rows > 16 else 0
        wide = triton_products.expand(
            held.numbers, held.scales, first, rows - first, columns, dtype
        )
        expected = held.rows(torch.arange(first, rows)).double()
        assert wide.shape == expected.shape
        worst = max(worst, distance(wide, expected))
    return worst


def of_calls(bits: Bits, dtype: torch.dtype) -> float:
    """As the network calls them: few rows, and more than are worth anything but a dense product."""
    triton_products.prepare(bits, dtype, torch.device(DEVICE))
    quantised._ROWS_AT_ONCE = 32  # made wide
    shape = (70, 160)
    held = Quantised(random(*shape), random(shape[0]).to(dtype), bits)
    held._gpu = triton_products
    assert held.bias is not None
    kept = held.rows(torch.arange(shape[0])).double()
    worst = 0.0
    for count in (3, 40):
        x = random(count, shape[1]).to(dtype)
        made = held(x)
        assert made.dtype is dtype
        worst = max(worst, distance(made, x.double() @ kept.T + held.bias.double()))
    return worst


def mend_the_interpreter() -> None:
    """Let its dot product take bfloat16, whose bits it multiplies as if they were integers."""
    plain = interpreter.InterpreterBuilder.create_dot

    def widened(builder: Any, one: Any) -> Any:
        return builder.cast_impl(one, tl.float32) if one.dtype.scalar == tl.bfloat16 else one

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return plain(self, widened(self, a), widened(self, b), *rest)

    interpreter.InterpreterBuilder.create_dot = create_dot


def main() -> None:
    if DEVICE == "cpu":
        mend_the_interpreter()
    found = {
        f"{what.__name__} {bits} {dtype}": what(bits, getattr(torch, dtype))
        for what in (of_products, of_weights, of_calls)
        for bits in (8, 4)
        for dtype in DTYPES
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
