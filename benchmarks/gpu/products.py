"""Products of quantised weights on the device, by kernel and tile: time and bytes per second.

Each product has several copies of its matrix, more than the device's cache holds, and is timed in a
CUDA graph. Results are written one by one, in `benchmarks.gpu.results`. All kernels are compiled
first, in parallel.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu.results import FILE_VARIABLE, record

import torch  # isort: skip
from torch import Tensor  # isort: skip
from torch.nn import functional  # isort: skip

_SHAPES = (
    (24576, 6144), (6144, 24576), (6400, 6144), (6144, 6144), (49152, 6144),
    (8192, 2048), (2048, 8192), (2304, 2048), (2048, 2048), (49152, 2048),
)  # fmt: skip
"""Shapes (out, in) of the matrices of StarCoder with 15.5B parameters, and with 1B."""
_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_CACHE_BYTES = 200 << 20
_COPIED_BYTES = 2 << 30
_DEQUANTISED_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel, the tile that its module takes, and rows of activations."""

    kernel: str
    tile: tuple[int, ...]
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Matrix:
    """Random quantised weights in the layout of `engine.network.quantised`."""

    bits: int
    outputs: int
    columns: int
    numbers: Tensor
    scales: Tensor

    @property
    def bytes(self) -> int:
        """Bytes of weights and scales."""
        return self.numbers.numel() + self.scales.numel() * self.scales.itemsize

    def weights(self, first: int, count: int) -> Tensor:
        """Return rows of the weights in float32."""
        blocks = slice(first // 16, (first + count) // 16)
        packed = self.numbers[blocks].transpose(1, 2)  # (blocks, 16, words, 4)
        if self.bits == 8:
            return (
                (packed.flatten(2).float() - 128).mul_(self.scales[blocks, :, None]).flatten(0, 1)
            )
        numbers = torch.stack([packed & 15, packed >> 4], 3).flatten(2).float()
        groups = numbers.view(*numbers.shape[:2], -1, 32)
        scales, minima = self.scales[blocks].transpose(1, 2).float().unbind(-1)
        return groups.mul_(scales[..., None]).add_(minima[..., None]).flatten(2).flatten(0, 1)


def random_matrix(bits: int, outputs: int, columns: int) -> Matrix:
    """Return random weights. Both sizes must be multiples of 32."""
    shape = (outputs // 16, columns * bits // 32, 16, 4)
    numbers = torch.randint(0, 256, shape, dtype=torch.uint8, device=_DEVICE)
    if bits == 8:
        scales = torch.rand(outputs // 16, 16, device=_DEVICE) * 1e-3
    else:
        scales = torch.rand(outputs // 16, columns // 32, 16, 2, device=_DEVICE) * 1e-2
        scales = (scales * torch.tensor([1.0, -7.5], device=_DEVICE)).bfloat16()
    return Matrix(bits, outputs, columns, numbers, scales)


def variants(bits: int) -> list[Variant]:
    """Return all variants, in the order of their measurement."""
    # Groups, stages and warps; lines fetched early.
    rows_tiles = [
        (64, 1, 8), (32, 1, 4), (128, 1, 16), (64, 1, 4), (32, 1, 2), (16, 1, 2), (16, 1, 1),
        (64, 2, 8), (32, 2, 4), (32, 3, 4), (64, 3, 8), (16, 4, 2), (128, 2, 16), (16, 2, 2),
    ]  # fmt: skip
    early = [(*tile, lines) for tile in rows_tiles[:11] for lines in (16, 128)]
    result = [Variant("row", tile) for tile in rows_tiles]
    result += [Variant("row", tile) for tile in early]
    result += [Variant("row both", tile) for tile in (*rows_tiles[:2], *early)]
    for rows in (4, 8, 16):
        tiles = ((128, 2, 3, 4), (64, 2, 4, 4), (64, 4, 3, 4), (128, 1, 3, 4), (64, 1, 4, 2))
        result += [Variant("current", tile, rows) for tile in tiles]
        tiles = ((32, 1, 2, 4), (64, 1, 2, 8), (32, 1, 3, 4), (16, 1, 2, 2), (32, 2, 2, 8))
        result += [Variant("several", tile, rows) for tile in tiles[: 1 if rows == 16 else 5]]
    return result


def run_of(variant: Variant, x: Tensor, matrix: Matrix) -> tuple[Callable[[], object], Tensor]:
    """Return a function that runs a variant, and its result, which the function writes.

    Activations of the integer kernels are quantised here, not in the function, except for
    the kernel "row both".
    """
    y = torch.full((variant.rows, matrix.outputs), float("nan"), dtype=x.dtype, device=_DEVICE)
    numbers, scales, tile = matrix.numbers, matrix.scales, variant.tile
    if variant.kernel == "current":
        return (lambda: _current(variant, x, matrix, y)), y
    if variant.kernel.startswith("row"):
        return _row_run(variant, x, matrix, y), y
    from benchmarks.gpu import few_rows_products

    quantised = few_rows_products.quantise(x, matrix.bits)
    return (lambda: few_rows_products.rows_product(quantised, numbers, scales, y, tile)), y


def _row_run(variant: Variant, x: Tensor, matrix: Matrix, y: Tensor) -> Callable[[], object]:
    from engine.kernels import triton_row_products

    groups, stages, warps, *rest = variant.tile
    lines = rest[0] if rest else 0
    tile = groups, stages, warps
    numbers, scales = matrix.numbers, matrix.scales
    if variant.kernel == "row":
        words = triton_row_products.quantise(x, matrix.bits)
        return lambda: triton_row_products.multiply(words, numbers, scales, None, y, tile, lines)

    def run() -> None:
        words = triton_row_products.quantise(x, matrix.bits, is_early=lines > 0)
        triton_row_products.multiply(words, numbers, scales, None, y, tile, lines)

    return run


def _current(variant: Variant, x: Tensor, matrix: Matrix, y: Tensor) -> None:
    from engine.kernels.triton_products import product_kernel

    words, blocks, stages, warps = variant.tile
    from engine.kernels.triton_row_products import scale_words

    numbers, scales = matrix.numbers.view(torch.int32), scale_words(matrix.scales)
    product_kernel[(-(-(matrix.outputs // 16) // blocks),)](
        x, numbers, scales, scales, y, variant.rows, matrix.columns, matrix.outputs,
        numbers.shape[1], BITS=matrix.bits, HAS_BIAS=False,
        ROWS=16, WORDS=words, BLOCKS=blocks, STAGES=stages,
        num_warps=warps,
    )  # fmt: skip


def microseconds(runs: list[Callable[[], object]]) -> float:
    """Return the mean microseconds of the runs, recorded together in one graph."""
    for run in runs:
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in runs:
            run()
    times: list[float] = []
    for _ in range(9):
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[4] * 1000 / len(runs)


def copy_rate() -> float:
    """Return the bytes per microsecond of a copy, read and written."""
    source = torch.randint(0, 256, (_COPIED_BYTES,), dtype=torch.uint8, device=_DEVICE)
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / microseconds([lambda: target.copy_(source)])


def compile_variant(bits: int, variant: Variant, columns: int) -> None:
    """Compile a variant into Triton's cache, for matrices with `columns` columns and others."""
    x = torch.randn(variant.rows, columns, device=_DEVICE, dtype=torch.bfloat16)
    run_of(variant, x, random_matrix(bits, 256, columns))[0]()
    torch.cuda.synchronize()


def compile_all(processes: int) -> None:
    """Compile all variants in parallel."""
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    failures = 0
    with ProcessPoolExecutor(processes, context) as pool:
        tasks = [
            pool.submit(compile_variant, bits, variant, columns)
            for columns in (6144, 2048)
            for bits in (4, 8)
            for variant in variants(bits)
        ]
        for task in as_completed(tasks):
            failures += task.exception() is not None
    seconds = round(time.monotonic() - started, 1)
    record("products compiled", tasks=len(tasks), failures=failures, s=seconds)


def measure(
    shape: tuple[int, int], bits: int, copied: float, end: float
) -> Iterator[dict[str, Any]]:
    """Record and yield the measurements of all variants for one shape, until the time `end`."""
    torch.manual_seed(0)
    first = random_matrix(bits, *shape)
    copies = max(2, -(-_CACHE_BYTES // first.bytes))
    matrices = [first, *(random_matrix(bits, *shape) for _ in range(copies - 1))]
    xs = {
        rows: torch.randn(rows, shape[1], device=_DEVICE, dtype=torch.bfloat16)
        for rows in (1, 4, 8, 16)
    }
    expected = {rows: _expected(x, first) for rows, x in xs.items()}
    for variant in variants(bits):
        if time.monotonic() > end:
            return
        values: dict[str, Any] = {
            "bits": bits,
            "shape": shape,
            "kernel": variant.kernel,
            "tile": variant.tile,
        }
        try:
            pairs = [run_of(variant, xs[variant.rows], matrix) for matrix in matrices]
            us = microseconds([run for run, _ in pairs])
            difference = pairs[0][1].float() - expected[variant.rows]
        except Exception as failure:
            record("product", **values, rows=variant.rows, failure=repr(failure)[:300])
            continue
        error = float(difference.norm() / expected[variant.rows].norm())
        rate = first.bytes / us
        values |= {"rows": variant.rows, "us": round(us, 2), "gb_per_s": round(rate / 1e3)}
        values |= {"share_of_copy": round(rate / copied, 3), "error": float(f"{error:.3g}")}
        record("product", **values)
        yield values


def _expected(x: Tensor, matrix: Matrix) -> Tensor:
    firsts = range(0, matrix.outputs, _DEQUANTISED_ROWS)
    parts = [
        x.float() @ matrix.weights(first, min(_DEQUANTISED_ROWS, matrix.outputs - first)).T
        for first in firsts
    ]
    return torch.cat(parts, 1)


def measure_bfloat16(shape: tuple[int, int], copied: float) -> None:
    """Record the product of bfloat16 weights in cuBLAS."""
    weight = torch.randn(shape, device=_DEVICE, dtype=torch.bfloat16)
    size = weight.numel() * 2
    weights = [weight, *(weight.clone() for _ in range(max(1, -(-_CACHE_BYTES // size))))]
    for rows in (1, 4, 8, 16):
        x = torch.randn(rows, shape[1], device=_DEVICE, dtype=torch.bfloat16)
        us = microseconds([lambda w=w, x=x: functional.linear(x, w) for w in weights])  # type: ignore[misc]
        record(
            "product", bits=16, shape=shape, kernel="linear", rows=rows, us=round(us, 2),
            gb_per_s=round(size / us / 1e3), share_of_copy=round(size / us / copied, 3),
        )  # fmt: skip


def measure_quantisation(columns: int) -> None:
    """Record the time to quantise one row of activations."""
    from engine.kernels import triton_row_products

    x = torch.randn(1, columns, device=_DEVICE, dtype=torch.bfloat16)
    us = microseconds([lambda: triton_row_products.quantise(x, 4)] * 20)
    record("quantisation", columns=columns, us=round(us, 2))


def _rehearse() -> None:
    """Record the errors of all variants, in Triton's interpreter if TRITON_INTERPRET is 1."""
    for bits in (4, 8):
        record("product plan", bits=bits, variants=len(variants(bits)), shapes=len(_SHAPES))
        if os.environ.get("TRITON_INTERPRET") != "1":
            continue
        matrix = random_matrix(bits, 96, 544)
        for variant in variants(bits):
            if variant.kernel[:3] == "row" and len(variant.tile) > 3:
                continue  # without a replacement for the assembly
            x = torch.randn(variant.rows, matrix.columns)
            run, y = run_of(variant, x, matrix)
            run()
            expected = _expected(x, matrix)
            error = float((y - expected).norm() / expected.norm())
            record("product", bits=bits, kernel=variant.kernel, tile=variant.tile, error=error)


def print_best(results: Iterable[dict[str, Any]], count: int = 4) -> None:
    """Print the fastest variants of each shape."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for values in results:
        if values["error"] < 0.02:
            key = values["shape"], values["bits"], values["rows"]
            groups.setdefault(key, []).append(values)
    for key, members in groups.items():
        best = sorted(members, key=lambda values: values["us"])[:count]
        texts = [f"{v['kernel']} {v['tile']} {v['us']} ({v['share_of_copy']})" for v in best]
        print(*key, "|", "; ".join(texts), flush=True)


def _sections() -> Iterator[tuple[tuple[int, int], int]]:
    for shape in _SHAPES:
        yield from ((shape, 4), (shape, 8))


def main(
    seconds: Annotated[float, typer.Option(help="Time for all variants.")] = 70,
    out: Annotated[Path | None, typer.Option(help="Results file.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that compile.")] = 12,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="On a CPU.")] = False,
) -> None:
    """Measure all variants on a GPU."""
    if out is not None:
        os.environ[FILE_VARIABLE] = str(out)
    if rehearse or not torch.cuda.is_available():
        _rehearse()
        return
    end = time.monotonic() + seconds
    torch.backends.cuda.matmul.allow_tf32 = False
    compile_all(processes)
    copied = copy_rate()
    record("copy", gb_per_s=round(copied / 1e3))
    for columns in (6144, 24576, 2048):
        measure_quantisation(columns)
    results: list[dict[str, Any]] = []
    for shape, bits in _sections():
        if time.monotonic() > end:
            break
        if bits == 4:
            measure_bfloat16(shape, copied)
        results += measure(shape, bits, copied, end)
    print_best(results)


if __name__ == "__main__":
    typer.run(main)
