"""What the machine allows: its memory's rate and its matrix rates, the floors that they imply for a
shape, and our share of them.

A decoded token reads every weight once: bytes over the memory's rate. A token of a prompt costs two
operations a weight: operations over the matrix rate. Rates and ours are measured by turns; the best
of each is taken for the rates, the median for ours. On a GPU, if there is one, as the engine is.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
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
    Timing,
    folder_of,
    load_ours,
    machine,
    median,
    ours,
    random_checkpoint,
)
from benchmarks.decode import DtypesOption
from engine.kernels.build import kernels
from engine.memory import BYTES_A_WEIGHT, parameter_count
from engine.quantised import Quantised

import torch  # isort: skip

_ON_GPU = torch.cuda.is_available()
_READ_BYTES = 1 << 30
_SIDE = 8192 if _ON_GPU else 2048
_TIMES = 10 if _ON_GPU else 1
"""In a row, for what is over too soon to be measured once."""
_PREFILL = 512
_BYTES_READ = BYTES_A_WEIGHT if _ON_GPU else {**BYTES_A_WEIGHT, "float32": 2.0}
"""A weight. The checkpoints here are in bfloat16, and float32 reads the same numbers on a CPU."""


def _seconds(run: Callable[[], object]) -> float:
    _wait()
    started = time.perf_counter()
    for _ in range(_TIMES):
        run()
    _wait()
    return (time.perf_counter() - started) / _TIMES


def _wait() -> None:
    if _ON_GPU:
        torch.cuda.synchronize()


class _Rates:
    """Things whose rate is measured; each call is one measurement, in units a second."""

    def __init__(self) -> None:
        device = "cuda" if _ON_GPU else "cpu"
        self._read = torch.ones(_READ_BYTES // 8, dtype=torch.int64, device=device)
        self._written = torch.empty_like(self._read) if _ON_GPU else None
        wide = torch.randn(_SIDE, _SIDE, device=device)
        self._wide, self._narrow = wide, wide.bfloat16()
        self._eight = None if _ON_GPU else Quantised(wide, None, 8)
        self._operations = 2 * _SIDE**3

    def memory(self) -> float:
        """Bytes: a sum over more than any cache holds; on a GPU a copy, each byte counted twice."""
        written = self._written
        if written is not None:
            return 2 * _READ_BYTES / _seconds(lambda: written.copy_(self._read))
        return _READ_BYTES / _seconds(self._read.sum)

    def matrix(self, dtype: str) -> float:
        """Operations of a product of two square matrices, by the best that there is here.

        On a GPU many rows are multiplied in 16 bits, however few the weights are kept in.
        """
        if dtype in ("int8", "int4") and self._eight is not None:
            eight = self._eight
            return self._operations / _seconds(lambda: eight(self._wide))
        x = self._wide if dtype == "float32" else self._narrow
        return self._operations / _seconds(lambda: x @ x)


def main(
    model: ModelOption = "demo",
    shape: ShapeOption = None,
    dtype: DtypesOption = ["bfloat16", "int8", "int4"],  # noqa: B006
    new: Annotated[int, typer.Option(min=2, help="Tokens to write.")] = 16,
    rounds: RoundsOption = 7,
    json_file: JsonOption = None,
) -> None:
    """Print floors and what we take."""
    with tempfile.TemporaryDirectory() as scratch:
        path = str(random_checkpoint(shape, Path(scratch))) if shape else model
        config = json.loads((folder_of(path) / "config.json").read_text(encoding="utf-8"))
        held = {one: load_ours(path, one) for one in dtype}
    kernels().result()
    rates, reads = _Rates(), []
    matrix: dict[str, list[float]] = {one: [] for one in dtype}
    runs: dict[str, list[Timing]] = {one: [] for one in dtype}
    ids = tuple(torch.randint(19, config["vocab_size"], (_PREFILL,)).tolist())
    for number in range(rounds + 1):
        for one in dtype:
            found = rates.memory(), rates.matrix(one), ours(held[one])(ids, new)
            if number:
                reads.append(found[0])
                matrix[one].append(found[1])
                runs[one].append(found[2])
    weights = parameter_count(config) - config["n_positions"] * config["n_embd"]
    figures: dict[str, Any] = {"memory": max(reads), "machine": machine()}
    table = Table(title=f"{shape or model}: memory {max(reads) / 1e9:.1f} GB/s, {rounds} rounds")
    for column in ("", "10⁹ op/s", "decode floor", "ours", "÷", "prefill floor", "ours", "÷"):
        table.add_column(column, justify="right")
    in_layers = weights - config["vocab_size"] * config["n_embd"]
    for one in dtype:
        floor = weights * _BYTES_READ[one] / max(reads) * 1000
        ceiling = 2 * in_layers * _PREFILL / max(matrix[one]) * 1000
        each, first = (median(runs[one], part) for part in (_each, _first))
        figures[one] = {
            "rate": max(matrix[one]), "decode floor": floor, "decode": each,
            "prefill floor": ceiling, "prefill": first,
        }  # fmt: skip
        table.add_row(
            one, f"{max(matrix[one]) / 1e9:.0f}", f"{floor:.2f}", f"{each:.2f}",
            f"{each / floor:.2f}", f"{ceiling:.0f}", f"{first:.0f}", f"{first / ceiling:.2f}",
        )  # fmt: skip
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _each(one: Timing) -> float:
    return one.each


def _first(one: Timing) -> float:
    return one.first


if __name__ == "__main__":
    typer.run(main)
