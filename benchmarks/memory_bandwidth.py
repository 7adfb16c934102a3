"""Lower bounds on this machine, by its memory and matrix rates, and our distance to them.

- A decoded token reads every weight once: bytes divided by the memory rate.
- A prompt token costs two operations per weight: operations divided by the matrix rate.

The benchmark uses a GPU if there is one, as the engine does.

Other programs may use the machine's memory, and their demand varies. So the number of bytes that a
token reads is read plainly before and after each token, and the token is compared with the faster
read. The table has the median of these ratios, and the fastest token over the fastest read.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import (
    JsonOption,
    ModelOption,
    RoundsOption,
    ShapeOption,
    folder_of,
    load_ours,
    machine,
    random_checkpoint,
    tokens,
)
from benchmarks.peers.checkpoint import DtypesOption
from engine.architecture import Architecture
from engine.kernels.build import KernelBuild
from engine.loading.model_size import weight_bytes
from engine.model_config import require_architecture
from engine.network.backend import Backend
from engine.network.model import LoadedModel
from engine.network.quantised import Quantised

import torch  # isort: skip

_ON_GPU = torch.cuda.is_available()
_BUFFER_BYTES = 1 << 30
_MATRIX_SIDE = 8192 if _ON_GPU else 2048
_REPEATS = 10 if _ON_GPU else 1
"""Number of repetitions per measurement: on a GPU one operation is too short to measure."""
_PREFILL = 512


def _bytes_read(architecture: Architecture, name: str) -> float:
    """Return the bytes of weights that a step reads.

    The checkpoints are in bfloat16, and on a CPU float32 reads these, too.
    """
    is_narrow = name == "float32" and not _ON_GPU
    return weight_bytes(architecture, "bfloat16" if is_narrow else name)


def _seconds(run: Callable[[], object]) -> float:
    """Return the seconds that an operation takes."""
    _synchronize()
    started = time.perf_counter()
    for _ in range(_REPEATS):
        run()
    _synchronize()
    return (time.perf_counter() - started) / _REPEATS


def _synchronize() -> None:
    if _ON_GPU:
        torch.cuda.synchronize()


class _Machine:
    """Rates of this machine; each call is one measurement."""

    def __init__(self) -> None:
        device = "cuda" if _ON_GPU else "cpu"
        self._buffer = torch.ones(_BUFFER_BYTES // 8, dtype=torch.int64, device=device)
        self._offset = 0
        self._target = torch.empty_like(self._buffer) if _ON_GPU else None
        wide = torch.randn(_MATRIX_SIDE, _MATRIX_SIDE, device=device)
        self._float32, self._bfloat16 = wide, wide.bfloat16()
        self._int8 = None if _ON_GPU else Quantised(wide, None, 8, _compiled_backend())
        self._operations = 2 * _MATRIX_SIDE**3

    def read(self, size: int) -> float:
        """Return the seconds that a read of `size` bytes takes.

        On a GPU it is half the time of a copy, which reads and writes each byte.
        """
        seconds = 0.0
        while size > 0:
            if self._offset >= _BUFFER_BYTES:
                self._offset = 0  # small reads walk through the buffer, past the processor's cache
            num_bytes = min(size, _BUFFER_BYTES - self._offset)
            seconds += self._read_part(slice(self._offset // 8, (self._offset + num_bytes) // 8))
            size, self._offset = size - num_bytes, self._offset + num_bytes
        return seconds

    def _read_part(self, part: slice) -> float:
        numbers = self._buffer[part]
        if self._target is None:
            return _seconds(numbers.sum)
        target = self._target[part]
        return _seconds(lambda: target.copy_(numbers)) / 2

    def matrix_rate(self, dtype: str) -> float:
        """Return the operations per second of the fastest product of two square matrices.

        On a GPU products of many rows are computed in 16 bits, also for quantised weights.
        """
        if dtype in ("int8", "int4") and self._int8 is not None:
            int8 = self._int8
            return self._operations / _seconds(lambda: int8(self._float32))
        matrix = self._float32 if dtype == "float32" else self._bfloat16
        return self._operations / _seconds(lambda: matrix @ matrix)


def _compiled_backend() -> Backend:
    backend = Backend(KernelBuild())
    backend.compile()
    backend.wait()
    return backend


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    new: Annotated[int, typer.Option(min=2, help="Number of tokens to generate.")] = 16,
    rounds: RoundsOption = 7,
    json_file: JsonOption = None,
) -> None:
    """Compare our decode and prefill with the lower bounds of this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        path = str(random_checkpoint(shape, Path(scratch))) if shape else model
        config = json.loads((folder_of(path) / "config.json").read_text(encoding="utf-8"))
        models = {name: load_ours(path, name) for name in dtype}
    architecture = require_architecture(config)
    weights = architecture.num_parameters
    if architecture.rotary is None:
        weights -= architecture.positions * architecture.width
    machine_rates = _Machine()
    runs: dict[str, list[_Run]] = {name: [] for name in dtype}
    ids = tuple(torch.randint(19, config["vocab_size"], (_PREFILL,)).tolist())
    for number in range(rounds + 1):
        for name in dtype:
            size = int(_bytes_read(architecture, name))
            run = _measure(models[name], ids, new, machine_rates, size)
            run.matrix_rate = machine_rates.matrix_rate(name)
            if number:  # the first round warms up
                runs[name].append(run)
    operations = 2 * (weights - architecture.vocab_size * architecture.width) * _PREFILL
    figures = {name: _figures(measured, operations) for name, measured in runs.items()}
    _report(f"{shape or model}: {rounds} rounds, ms", figures, json_file)


@dataclass(slots=True)
class _Run:
    prefill_s: float
    tokens: list[tuple[float, float]]
    """Seconds of each token, and of a plain read of the same number of bytes."""
    matrix_rate: float = 0.0
    """Operations per second."""


def _measure(
    model: LoadedModel, ids: tuple[int, ...], new: int, machine_rates: _Machine, size: int
) -> _Run:
    """Generate tokens, with a read of `size` bytes before and after each."""
    generated = tokens(model, ids, new + 1)
    prefill_s = _elapsed(lambda: next(generated))
    read_before, pairs = machine_rates.read(size), []
    for _ in range(new):
        token_s = _elapsed(lambda: next(generated))
        read_after = machine_rates.read(size)
        pairs.append((token_s, min(read_before, read_after)))
        read_before = read_after
    next(generated, None)  # lets the generator release the KV cache
    return _Run(prefill_s, pairs)


def _elapsed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _figures(runs: list[_Run], operations: float) -> dict[str, float]:
    """Return the figures of one number format; times are in milliseconds."""
    pairs = [pair for run in runs for pair in run.tokens]
    prefill_s = statistics.median(run.prefill_s for run in runs)
    matrix_rate = max(run.matrix_rate for run in runs)
    min_prefill_s = operations / matrix_rate
    return {
        "decode": statistics.median(token for token, _ in pairs) * 1000,
        "read": statistics.median(read for _, read in pairs) * 1000,
        "decode ratio": statistics.median(token / read for token, read in pairs),
        "fastest ratio": min(token for token, _ in pairs) / min(read for _, read in pairs),
        "matrix rate": matrix_rate / 1e9,
        "prefill": prefill_s * 1000,
        "prefill bound": min_prefill_s * 1000,
        "prefill ratio": prefill_s / min_prefill_s,
    }


_COLUMNS = (
    "",
    "a token",
    "same bytes read",
    "÷",
    "fastest ÷ fastest",
    "10⁹ op/s",
    "prefill",
    "lower bound",
    "÷",
)
_DECIMALS = (2, 2, 2, 2, 0, 0, 0, 2)
"""Number of decimals of each figure."""


def _report(title: str, figures: dict[str, dict[str, float]], json_file: Path | None) -> None:
    table = Table(title=title)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for name, values in figures.items():
        cells = zip(values.values(), _DECIMALS, strict=True)
        table.add_row(name, *(f"{value:.{decimals}f}" for value, decimals in cells))
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        content: dict[str, Any] = {"machine": machine(), **figures}
        json_file.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
