"""What the machine allows a shape, by its memory and its matrix rate, and how near we come.

A decoded token reads every weight once: bytes over the memory's rate. A token of a prompt costs two
operations a weight: operations over the matrix rate. On a GPU, if there is one, as the engine is.

A machine's memory may be shared with others, whose demands come and go. So as many bytes as a token
reads are read, plainly, before and after each token, and the token is compared with the faster of
the two; the middle of these ratios is printed, and the fastest token over the fastest reading.
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
from benchmarks.decode import DtypesOption
from engine.loading.model_size import BYTES_PER_WEIGHT, parameter_count
from engine.network.model import LoadedModel
from engine.network.quantised import Quantised

import torch  # isort: skip

_ON_GPU = torch.cuda.is_available()
_READ_BYTES = 1 << 30
_SIDE = 8192 if _ON_GPU else 2048
_TIMES = 10 if _ON_GPU else 1
"""In a row, for what is over too soon to be measured once."""
_PREFILL = 512
_BYTES_READ = BYTES_PER_WEIGHT if _ON_GPU else {**BYTES_PER_WEIGHT, "float32": 2.0}
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
    """What the machine can do; each call is one measurement."""

    def __init__(self) -> None:
        device = "cuda" if _ON_GPU else "cpu"
        self._read = torch.ones(_READ_BYTES // 8, dtype=torch.int64, device=device)
        self._at = 0
        self._written = torch.empty_like(self._read) if _ON_GPU else None
        wide = torch.randn(_SIDE, _SIDE, device=device)
        self._wide, self._narrow = wide, wide.bfloat16()
        self._eight = None if _ON_GPU else Quantised(wide, None, 8)
        self._operations = 2 * _SIDE**3

    def reading(self, size: int) -> float:
        """Seconds in which so many bytes are read; on a GPU a copy, each byte counted twice."""
        took = 0.0
        while size > 0:
            if self._at >= _READ_BYTES:
                self._at = 0  # not at once again: what is small would come from a cache
            some = min(size, _READ_BYTES - self._at)
            part = slice(self._at // 8, (self._at + some) // 8)
            took += self._of_part(self._read[part], part)
            size, self._at = size - some, self._at + some
        return took

    def _of_part(self, numbers: torch.Tensor, part: slice) -> float:
        if self._written is None:
            return _seconds(numbers.sum)
        target = self._written[part]
        return _seconds(lambda: target.copy_(numbers)) / 2

    def matrix(self, dtype: str) -> float:
        """Operations a second of a product of two square matrices, by the best that there is here.

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
    weights = parameter_count(config) - config["n_positions"] * config["n_embd"]
    rates = _Rates()
    runs: dict[str, list[_Run]] = {one: [] for one in dtype}
    ids = tuple(torch.randint(19, config["vocab_size"], (_PREFILL,)).tolist())
    for number in range(rounds + 1):
        for one in dtype:
            found = _measure(held[one], ids, new, rates, int(weights * _BYTES_READ[one]))
            found.rate = rates.matrix(one)
            if number:
                runs[one].append(found)
    in_layers = weights - config["vocab_size"] * config["n_embd"]
    _print(
        shape or model,
        {one: _figures(found, 2 * in_layers * _PREFILL) for one, found in runs.items()},
        rounds,
        json_file,
    )


@dataclass(slots=True)
class _Run:
    first: float
    """Seconds of the prefill."""
    tokens: list[tuple[float, float]]
    """Of each the seconds, and those of the reading beside it."""
    rate: float = 0.0
    """Operations a second."""


def _measure(held: LoadedModel, ids: tuple[int, ...], new: int, rates: _Rates, size: int) -> _Run:
    """Write tokens, with `size` bytes read before and after each."""
    written = tokens(held, ids, new + 1)
    first = _timed(lambda: next(written))
    before, pairs = rates.reading(size), []
    for _ in range(new):
        took = _timed(lambda: next(written))
        after = rates.reading(size)
        pairs.append((took, min(before, after)))
        before = after
    next(written, None)
    return _Run(first, pairs)


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _figures(runs: list[_Run], operations: float) -> dict[str, float]:
    pairs = [pair for run in runs for pair in run.tokens]
    prefill = statistics.median(run.first for run in runs)
    ceiling = operations / max(run.rate for run in runs)
    return {
        "decode": statistics.median(took for took, _ in pairs) * 1000,
        "reading": statistics.median(read for _, read in pairs) * 1000,
        "decode ratio": statistics.median(took / read for took, read in pairs),
        "fastest": min(took for took, _ in pairs) / min(read for _, read in pairs),
        "rate": max(run.rate for run in runs) / 1e9,
        "prefill": prefill * 1000,
        "prefill floor": ceiling * 1000,
        "prefill ratio": prefill / ceiling,
    }


def _print(
    title: str, figures: dict[str, dict[str, float]], rounds: int, json_file: Path | None
) -> None:
    table = Table(title=f"{title}: {rounds} rounds, ms")
    names = ("", "a token", "the same bytes read", "÷", "fastest ÷ fastest", "10⁹ op/s")
    for column in (*names, "prefill", "its floor", "÷"):
        table.add_column(column, justify="right")
    for one, its in figures.items():
        table.add_row(
            one,
            f"{its['decode']:.2f}",
            f"{its['reading']:.2f}",
            f"{its['decode ratio']:.2f}",
            f"{its['fastest']:.2f}",
            f"{its['rate']:.0f}",
            f"{its['prefill']:.0f}",
            f"{its['prefill floor']:.0f}",
            f"{its['prefill ratio']:.2f}",
        )
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept: dict[str, Any] = {"machine": machine(), **figures}
        json_file.write_text(json.dumps(kept, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
