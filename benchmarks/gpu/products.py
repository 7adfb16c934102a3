"""Products of quantised weights on the device, by kernel and tile: microseconds and bytes per second.

Each product has several copies of its matrix, more than the device's cache holds, and is timed in a
CUDA graph. Results are written one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from benchmarks.gpu.results import record
from engine.network.quantised import Bits, Quantised

import torch  # isort: skip
from torch import Tensor  # isort: skip
from torch.nn import functional  # isort: skip

_SHAPES = ((24576, 6144), (6144, 24576), (6400, 6144), (49152, 6144), (8192, 2048), (2048, 8192))
_CACHE_BYTES = 200 << 20
_TILES = (
    (128, 1, 4, 4), (128, 1, 3, 8), (64, 1, 4, 4), (64, 1, 4, 2), (256, 1, 3, 8), (256, 1, 2, 4),
    (64, 2, 4, 4), (128, 2, 3, 8), (32, 1, 6, 1), (32, 2, 4, 2), (32, 4, 4, 4), (512, 1, 2, 8),
)  # fmt: skip
"""Words, blocks, stages and warps."""


def microseconds(runs: list[Callable[[], object]]) -> float:
    """Return the mean microseconds of the runs, recorded together in one graph."""
    for run in runs:
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in runs:
            run()
    times = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[3] * 1000 / len(runs)


def _variants(
    bits: Bits, matrices: list[Quantised], x: Tensor
) -> Iterator[tuple[str, tuple[int, ...], list[Callable[[], Tensor]]]]:
    """Yield name, tile and one run per copy of the matrix."""
    from benchmarks.gpu import dp4a_products
    from engine.kernels import triton_products

    outputs = matrices[0].shape[0]

    def plain(matrix: Quantised) -> Callable[[], Tensor]:
        return lambda: triton_products.product(x, matrix.numbers, matrix.scales, None, outputs)

    def dp4a(matrix: Quantised, tile: tuple[int, int, int, int]) -> Callable[[], Tensor]:
        y = torch.empty(outputs, dtype=x.dtype, device=x.device)

        def run() -> Tensor:
            words = dp4a_products.quantise(x, bits)
            dp4a_products.product(words, matrix.numbers, matrix.scales, y, tile)
            return y[None]

        return run

    yield "current", triton_products.TILES[0], [plain(matrix) for matrix in matrices]
    for tile in _TILES:
        yield "dp4a", tile, [dp4a(matrix, tile) for matrix in matrices]


def measure(shape: tuple[int, int], bits: Bits, end: float) -> None:
    """Record all variants for one shape until the time `end`."""
    torch.manual_seed(0)
    weight = torch.randn(shape, device="cuda", dtype=torch.bfloat16) * 0.02
    x = torch.randn(1, shape[1], device="cuda", dtype=torch.bfloat16)
    first = Quantised(weight, None, bits)
    copies = max(2, -(-_CACHE_BYTES // first.bytes))
    matrices = [first, *(Quantised(weight, None, bits) for _ in range(copies - 1))]
    rows = torch.arange(shape[0], device="cuda")
    expected = x.double() @ first.rows(rows).double().T
    for name, tile, runs in _variants(bits, matrices, x):
        if time.monotonic() > end:
            return
        try:
            error = float((runs[0]() - expected).norm() / expected.norm())
            us = microseconds(list(runs))
        except Exception as failure:
            record(
                "product",
                bits=bits,
                shape=shape,
                kernel=name,
                tile=tile,
                failure=repr(failure)[:300],
            )
            continue
        rate = first.bytes / us / 1e6
        record(
            "product", bits=bits, shape=shape, kernel=name, tile=tile, us=round(us, 2),
            tb_per_s=round(rate, 3), error=round(error, 5),
        )  # fmt: skip


def measure_bfloat16(shape: tuple[int, int]) -> None:
    """Record the product of bfloat16 weights in cuBLAS."""
    weight = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    x = torch.randn(1, shape[1], device="cuda", dtype=torch.bfloat16)
    size = weight.numel() * 2
    weights = [weight, *(weight.clone() for _ in range(max(1, -(-_CACHE_BYTES // size))))]
    us = microseconds([lambda w=w: functional.linear(x, w) for w in weights])  # type: ignore[misc]
    record(
        "product",
        bits=16,
        shape=shape,
        kernel="linear",
        us=round(us, 2),
        tb_per_s=round(size / us / 1e6, 3),
    )


def main(
    seconds: Annotated[float, typer.Option(help="Time for all variants.")] = 70,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Only print the plan.")] = False,
) -> None:
    """Measure all variants on a GPU."""
    if rehearse or not torch.cuda.is_available():
        record("product plan", tiles=len(_TILES), shapes=_SHAPES)
        return
    end = time.monotonic() + seconds
    for shape in _SHAPES:
        measure_bfloat16(shape)
        for bits in (4, 8):
            measure(shape, bits, end)  # type: ignore[arg-type]


if __name__ == "__main__":
    typer.run(main)
