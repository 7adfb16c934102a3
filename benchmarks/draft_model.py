"""Whether a draft model pays: how often a small model is right, at what passes cost at real sizes.

Two things are measured and put together: what a pass over k ids takes, of random weights in two
real shapes; and how a real pair of models of one vocabulary agrees. Blocks cut out of source files
are filled by the large one of the pair one token at a time, by look-up, and with the small one's
guesses, deciding by those costs as the engine would at those sizes. Every pass of the pair then
counts as what one of its size took. Both have read the prompt before, as they have while somebody
types on; what the small one may read otherwise is a share of the large one's time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.common import JsonOption, ModelOption, load_ours, machine, random_checkpoint
from benchmarks.drafts import Filler, no_drafts
from engine.api import Usage
from engine.decoding.draft_model import DraftModel
from engine.network.batch import BatchEntry
from engine.network.forward import Forward
from engine.network.step_costs import StepCosts
from fim.evaluation.files import source_files
from fim.evaluation.holes import HoleKind, draw_holes

_PLAIN, _LOOK_UP, _DRAFT_MODEL = "one at a time", "look-up", "look-up and draft model"

_SIZES = (1, 2, 4, 8, 16, 32, 256, 512)
_ROUNDS = 5
_MOST_CHECKED = 32
"""Ids of a pass of decoding at most: the guesses, and the id before them."""
_CONTEXT = 512
"""Rows that the cache holds before a pass that is timed."""


class FixedCosts(StepCosts):
    """Costs that were measured and stay; `spent` adds up what passes would have taken."""

    def __init__(self, measured: dict[int, float]) -> None:
        super().__init__()
        for ids, took in measured.items():
            super().record(ids, took)
        self.spent = 0.0
        self.passes = 0

    def record(self, num_rows: int, milliseconds: float) -> None:
        """Do nothing: the costs are fixed."""

    def forget(self) -> None:
        """Begin to count anew."""
        self.spent, self.passes = 0.0, 0

    def count(self, ids: int) -> None:
        """Take note of a pass."""
        self.spent += self.milliseconds(ids)
        self.passes += 1


@dataclass
class _Counting:
    """A forward whose passes are counted, but for those that read a prompt."""

    forward: Forward
    costs: FixedCosts

    def __call__(self, batch: Sequence[BatchEntry]) -> list[Tensor]:
        num_rows = sum(len(entry.ids) for entry in batch)
        if num_rows <= _MOST_CHECKED:
            self.costs.count(num_rows)
        return self.forward(batch)

    def prepare(self) -> bool:
        return False

    def wait_ready(self) -> None:
        pass


@dataclass
class Way:
    """What filling all holes one way came to."""

    tokens: int = 0
    passes: int = 0
    ms: float = 0.0
    """Of decoding, the small model's passes included."""
    drafted: int = 0
    accepted: int = 0
    differing: int = 0

    def add(
        self, ids: list[int], usage: Usage, plain: list[int], large: FixedCosts, small: FixedCosts
    ) -> None:
        """Count an answer in."""
        self.tokens += len(ids)
        self.differing += ids != plain
        self.drafted += usage.drafted_tokens
        self.accepted += usage.accepted_tokens
        self.passes += large.passes
        self.ms += large.spent + small.spent


@torch.inference_mode()
def pass_costs(shapes: Sequence[str], dtype: str) -> list[dict[int, float]]:
    """Return what passes over so many ids take, by shape, in milliseconds; by turns."""
    with tempfile.TemporaryDirectory() as folder:
        held = []
        for shape in shapes:
            (Path(folder) / shape).mkdir()
            held.append(load_ours(str(random_checkpoint(shape, Path(folder) / shape)), dtype))
    took: list[dict[int, list[float]]] = [{size: [] for size in _SIZES} for _ in held]
    ids = tuple(range(100, 100 + _CONTEXT))
    for _ in range(_ROUNDS):
        for model, times in zip(held, took, strict=True):
            cache = model.new_cache()
            model.forward([BatchEntry(ids, cache)])
            cache.commit(ids)
            for size in _SIZES:
                started = perf_counter()
                model.forward([BatchEntry(ids[:size], cache, min(size, 16))])
                times[size].append((perf_counter() - started) * 1000)
    return [{size: median(found) for size, found in times.items()} for times in took]


def main(
    path: Annotated[Path, typer.Argument(help="A folder of source files.")],
    draft_model: Annotated[Path, typer.Option(help="The small one of the pair.")],
    model: ModelOption = "demo",
    large: Annotated[str, typer.Option(help="Shape whose passes the large one's count as.")] = "1b",
    small: Annotated[str, typer.Option(help="The same of the small one's.")] = "164m",
    dtype: Annotated[str, typer.Option(help="Of both shapes.")] = "int8",
    count: Annotated[int, typer.Option(min=1)] = 60,
    new: Annotated[int, typer.Option(help="Tokens to write at most.")] = 64,
    json_file: JsonOption = None,
) -> None:
    """Fill holes all ways and print what a token would take."""
    of_large, of_small = pass_costs((large, small), dtype)
    pair, guessing = load_ours(model, "auto"), load_ours(str(draft_model), "auto")
    ways = {_PLAIN: Way(), _LOOK_UP: Way(), _DRAFT_MODEL: Way()}
    drafting = FixedCosts(of_small)
    counted_small = replace(guessing, forward=_Counting(guessing.forward, drafting), costs=drafting)
    small_one = DraftModel(counted_small)
    for hole in track(draw_holes(source_files(path), [HoleKind.BLOCK], count, 0), transient=True):
        plain: list[int] = []
        for name, way in ways.items():
            costs = FixedCosts(of_large)
            drafting.forget()
            counted = replace(pair, forward=_Counting(pair.forward, costs), costs=costs)
            filler = Filler(counted, new, small_one if name == _DRAFT_MODEL else None)
            if name == _DRAFT_MODEL:
                for _ in range(100):  # saves up the time of the longest prefill
                    small_one.earn_prefill_time(1e6)
                filler.fill(hole.prefix, hole.suffix)  # somebody typed here before
                costs.forget()
                drafting.forget()
            with no_drafts() if name == _PLAIN else nullcontext():
                written, usage = filler.fill(hole.prefix, hole.suffix)
            plain = plain or written
            way.add(written, usage, plain, costs, drafting)
    _report(f"{large} beside {small}, {dtype}", (of_large, of_small), ways, json_file)


def _report(
    title: str, costs: tuple[dict[int, float], ...], ways: dict[str, Way], json_file: Path | None
) -> None:
    passes = Table(title=f"{title}: ms a pass")
    for column in ("ids", "large", "small"):
        passes.add_column(column, justify="right")
    for size in _SIZES:
        passes.add_row(str(size), *(f"{one[size]:.1f}" for one in costs))
    table = Table(title="blocks filled")
    for column in (
        "",
        "tokens",
        "passes a token",
        "ms a token",
        "÷ one at a time",
        "drafted",
        "accepted",
        "differing",
    ):
        table.add_column(column, justify="right")
    plain = next(iter(ways.values()))
    for name, way in ways.items():
        each = way.ms / max(1, way.tokens)
        table.add_row(
            name,
            str(way.tokens),
            f"{way.passes / max(1, way.tokens):.2f}",
            f"{each:.1f}",
            f"{each / (plain.ms / max(1, plain.tokens)):.2f}",
            str(way.drafted),
            str(way.accepted),
            str(way.differing),
        )
    console = Console()
    for one in (passes, table):
        console.print(one)
    console.print(machine())
    if json_file is not None:
        kept: dict[str, Any] = {name: asdict(way) for name, way in ways.items()}
        json_file.write_text(json.dumps({"machine": machine(), "costs": costs, "ways": kept}))


if __name__ == "__main__":
    typer.run(main)
