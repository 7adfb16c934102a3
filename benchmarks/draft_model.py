"""Benefit of a draft model: agreement of a real pair of models, with pass costs of real sizes.

Two measurements are combined:

- the duration of a forward pass over k tokens, with random weights in two real shapes;
- the agreement of a real pair of models with one vocabulary.

Blocks cut out of source files are filled by the large model of the pair: one token per pass, by
prompt lookup, and with draft tokens of the small model. The engine chooses the number of draft
tokens by the measured costs, as it would at those sizes. Each pass of the pair then counts with the
measured duration. Both models have prefilled the prompt before, as they have while a user types;
further prefill in the small model is limited to a share of the large one's time.
"""

from __future__ import annotations

import json
import math
import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.common import JsonOption, ModelOption, load_ours, machine, random_checkpoint
from benchmarks.drafts import Filler
from engine.api import Usage
from engine.decoding.draft_model import DraftModel
from engine.kv_cache.cache import KVCache
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.forward import Forward
from engine.network.model import LoadedModel
from engine.network.step_costs import StepCosts
from fim.evaluation.files import source_files
from fim.evaluation.holes import HoleKind, draw_holes

_PLAIN, _LOOKUP, _DRAFT_MODEL = "one at a time", "lookup", "lookup and draft model"

_SIZES = (1, 2, 4, 8, 16, 32, 256, 512)
"""Numbers of tokens of the measured passes."""
_ROUNDS = 5
_CACHED_ROWS = 512
"""Rows in the KV cache before a measured pass."""
_MAX_LOGITS = 16
"""Maximum number of tokens whose logits a measured pass returns."""


class FixedCosts(StepCosts):
    """Step costs that do not change, and the total cost of the counted passes."""

    def __init__(self, measured: dict[int, float]) -> None:
        """Create costs from milliseconds per pass, by the number of tokens."""
        super().__init__()
        for num_rows, milliseconds in measured.items():
            super().record(num_rows, milliseconds)
        self.total_ms = 0.0
        self.passes = 0

    def record(self, num_rows: int, milliseconds: float) -> None:
        """Ignore the duration of a pass of the pair."""

    def count(self, num_rows: int) -> None:
        """Count a pass with its fixed cost."""
        self.total_ms += self.milliseconds(num_rows)
        self.passes += 1

    def reset(self) -> None:
        """Set the counts to 0."""
        self.total_ms, self.passes = 0.0, 0


@dataclass
class _CountingForward:
    """A forward pass that counts the decoding passes, but not those of a prefill."""

    forward: Forward
    costs: FixedCosts
    first_row: int = 0
    """Position in the sequence at which decoding starts."""

    def __call__(self, batch: Sequence[BatchEntry]) -> list[Tensor]:
        num_rows = sum(len(entry.ids) for entry in batch)
        if num_rows <= DECODE_ROWS and batch[0].start >= self.first_row:
            self.costs.count(num_rows)
        return self.forward(batch)

    def prepare(self) -> bool:
        return False


@dataclass
class DraftingResult:
    """Totals of filling all holes with one source of draft tokens."""

    tokens: int = 0
    passes: int = 0
    """Decoding passes of the large model."""
    ms: float = 0.0
    """Milliseconds of decoding, with the passes of the small model."""
    drafted: int = 0
    accepted: int = 0
    differing: int = 0
    """Outputs that differ from the plain one."""

    def add(
        self,
        ids: list[int],
        usage: Usage,
        plain_ids: list[int],
        large: FixedCosts,
        small: FixedCosts,
    ) -> None:
        """Add the output for one hole."""
        self.tokens += len(ids)
        self.differing += ids != plain_ids
        self.drafted += usage.drafted_tokens
        self.accepted += usage.accepted_tokens
        self.passes += large.passes
        self.ms += large.total_ms + small.total_ms


@torch.inference_mode()
def measure_passes(shapes: Sequence[str], dtype: str) -> list[dict[int, float]]:
    """Return the milliseconds per pass by its number of tokens, for each shape, by turns."""
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for shape in shapes:
            (Path(folder) / shape).mkdir()
            models.append(load_ours(str(random_checkpoint(shape, Path(folder) / shape)), dtype))
    all_times: list[dict[int, list[float]]] = [{size: [] for size in _SIZES} for _ in models]
    ids = tuple(range(100, 100 + _CACHED_ROWS))
    for _ in range(_ROUNDS):
        for model, times in zip(models, all_times, strict=True):
            cache = KVCache(model.cache_shape)
            model.forward([BatchEntry(ids, cache)])
            cache.commit(ids)
            for size in _SIZES:
                started = perf_counter()
                model.forward([BatchEntry(ids[:size], cache, min(size, _MAX_LOGITS))])
                times[size].append((perf_counter() - started) * 1000)
    return [{size: median(ms) for size, ms in times.items()} for times in all_times]


class _Pair:
    """A large and a small model that decode together, with fixed costs."""

    def __init__(
        self,
        large: LoadedModel,
        large_ms: dict[int, float],
        small: LoadedModel,
        small_ms: dict[int, float],
        max_new_tokens: int,
    ) -> None:
        self.large_costs, self.small_costs = FixedCosts(large_ms), FixedCosts(small_ms)
        self._draft_model = DraftModel(
            replace(
                small,
                forward=_CountingForward(small.forward, self.small_costs),
                costs=self.small_costs,
            )
        )
        self._large_forward = _CountingForward(large.forward, self.large_costs)
        model = replace(large, forward=self._large_forward, costs=self.large_costs)
        self._fillers = {
            _PLAIN: Filler(model, max_new_tokens, drafts=False),
            _LOOKUP: Filler(model, max_new_tokens),
            _DRAFT_MODEL: Filler(model, max_new_tokens, draft_model=self._draft_model),
        }

    def prompt(self, prefix: str, suffix: str) -> tuple[int, ...]:
        """Return the prompt for a hole."""
        return self._fillers[_PLAIN].prompt(prefix, suffix)

    def fill(self, source: str, prompt: tuple[int, ...]) -> tuple[list[int], Usage]:
        """Fill a hole with one source of draft tokens; the costs count this hole only."""
        if source == _DRAFT_MODEL:
            self._prefill_small(prompt)
        self._large_forward.first_row = len(prompt)
        self.large_costs.reset()
        self.small_costs.reset()
        return self._fillers[source].fill(prompt)

    @torch.inference_mode()
    def _prefill_small(self, prompt: tuple[int, ...]) -> None:
        """Prefill the prompt in the draft model, which keeps the rows in its prefix cache."""
        draft = self._draft_model.start(prompt, len(prompt), self.large_costs)
        if draft is None:
            return
        for _ in prompt:
            self._draft_model.earn_prefill_time(math.inf)
            if draft.propose(array("i", prompt), 1) is not None:
                break
        draft.close()


def main(
    path: Annotated[Path, typer.Argument(help="Folder of source files.")],
    draft_model: Annotated[Path, typer.Option(help="Folder of the small model of the pair.")],
    model: ModelOption = "demo",
    large: Annotated[str, typer.Option(help="Shape with the costs of the large model.")] = "1b",
    small: Annotated[str, typer.Option(help="Shape with the costs of the small model.")] = "164m",
    dtype: Annotated[str, typer.Option(help="Number format of both shapes.")] = "int8",
    count: Annotated[int, typer.Option(min=1, help="Number of holes.")] = 60,
    new: Annotated[int, typer.Option(help="Maximum number of tokens per hole.")] = 64,
    json_file: JsonOption = None,
) -> None:
    """Fill holes with each source of draft tokens, and print the cost of a token."""
    large_ms, small_ms = measure_passes((large, small), dtype)
    pair = _Pair(
        load_ours(model, "auto"),
        large_ms,
        load_ours(str(draft_model), "auto"),
        small_ms,
        new,
    )
    results = {name: DraftingResult() for name in (_PLAIN, _LOOKUP, _DRAFT_MODEL)}
    for hole in track(draw_holes(source_files(path), [HoleKind.BLOCK], count, 0), transient=True):
        prompt = pair.prompt(hole.prefix, hole.suffix)
        plain_ids: list[int] = []
        for name, result in results.items():
            ids, usage = pair.fill(name, prompt)
            plain_ids = plain_ids or ids
            result.add(ids, usage, plain_ids, pair.large_costs, pair.small_costs)
    console = Console()
    console.print(_pass_table(f"{large} and {small}, {dtype}", large_ms, small_ms))
    console.print(_result_table(results))
    console.print(machine())
    if json_file is not None:
        rows = {name: asdict(result) for name, result in results.items()}
        content = {"machine": machine(), "costs": (large_ms, small_ms), "results": rows}
        json_file.write_text(json.dumps(content))


def _pass_table(title: str, large_ms: dict[int, float], small_ms: dict[int, float]) -> Table:
    table = Table(title=f"{title}: ms per pass")
    for column in ("tokens", "large", "small"):
        table.add_column(column, justify="right")
    for size in _SIZES:
        table.add_row(str(size), f"{large_ms[size]:.1f}", f"{small_ms[size]:.1f}")
    return table


_COLUMNS = (
    "",
    "tokens",
    "passes per token",
    "ms per token",
    "÷ one at a time",
    "drafted",
    "accepted",
    "differing",
)


def _result_table(results: dict[str, DraftingResult]) -> Table:
    table = Table(title="blocks filled")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    plain = results[_PLAIN]
    for name, result in results.items():
        token_ms = result.ms / max(1, result.tokens)
        table.add_row(
            name,
            str(result.tokens),
            f"{result.passes / max(1, result.tokens):.2f}",
            f"{token_ms:.1f}",
            f"{token_ms / (plain.ms / max(1, plain.tokens)):.2f}",
            str(result.drafted),
            str(result.accepted),
            str(result.differing),
        )
    return table


if __name__ == "__main__":
    typer.run(main)
