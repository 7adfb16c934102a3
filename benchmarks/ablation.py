"""Contribution of each mechanism: everything on, then one mechanism at a time left out.

Holes are filled and passages are typed with the same model, files and rhythm. All variants take
turns within one run, each at a different passage, so that a slow minute of the machine affects all
of them. They share an engine that keeps KV caches for two prompts only, so no variant finds its
prompt in a cache that another one filled.

With `--releases`, holes and passages are in lines that releases added, and the rest of a project
is the release before. So a memory of the project does not contain what is typed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.project_memory.releases import find_pairs
from benchmarks.simulated_editor import SimulatedEditor
from benchmarks.variants import VARIANTS, Variant
from engine.client.managed import ManagedEngine
from engine.errors import ConfigurationError
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.context.provider import ContextProvider
from fim.evaluation.counts import Passage, TypingCounts
from fim.evaluation.files import File, source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.evaluation.older_trees import added_since, private_folder
from fim.evaluation.project_context import context_provider_for
from fim.evaluation.replay import Summary, counts_from_json, passages, summarize
from fim.evaluation.report import Row, rows
from fim.evaluation.run import Evaluator, Record, measure
from fim.evaluation.typing_rhythm import random_rhythm
from fim.evaluation.typist import Typist
from lsp_server.cli.results import Results

CACHE_LIMIT = "engine.scheduling.scheduler:default_limit"
"""Function of the engine that returns the memory limit of its prefix cache in bytes."""

_MODULE, _, _FUNCTION = CACHE_LIMIT.partition(":")
_ENGINE_COMMAND = (
    sys.executable,
    "-P",
    "-c",
    "import importlib, runpy\n"
    "from engine.machine import configure_threads\n"
    "configure_threads()\n"  # before torch is imported
    f"module = importlib.import_module({_MODULE!r})\n"
    f"module.{_FUNCTION} = lambda shape, **_: 2 * shape.capacity * shape.bytes_per_row\n"
    "runpy.run_module('engine', run_name='__main__')\n",
)
"""Command of an engine that keeps KV caches for two prompts."""


@dataclass
class _VariantRun:
    """A variant, and its results so far."""

    variant: Variant
    completer: Completer
    evaluator: Evaluator
    all_counts: Results[TypingCounts]
    records: Results[Record]

    @classmethod
    def create(
        cls,
        variant: Variant,
        engine: ManagedEngine,
        context_provider: ContextProvider,
        folder: Path,
    ) -> _VariantRun:
        name = "".join(c if c.isalnum() else "-" for c in variant.without)
        settings = variant.fim_settings
        return cls(
            variant,
            Completer(engine, settings, context_provider),
            Evaluator(engine, settings, context_provider=context_provider),
            Results(folder / f"{name}.replay.jsonl", counts_from_json),
            Results(folder / f"{name}.holes.jsonl", lambda row: Record(**row)),
        )

    async def type(self, passage: Passage, gap_ms: int, seed: int) -> None:
        """Type a passage, unless its result exists."""
        if any(counts.name == passage.name for counts in self.all_counts.rows):
            return
        editor = SimulatedEditor(self.completer)
        file = passage.file
        editor.open(passage.initial_text, passage.start, file.absolute_path.as_uri(), file.language)
        with self.variant.applied():
            typist = Typist(editor, passage, random_rhythm(gap_ms, seed))
            self.all_counts.add(await typist.type())

    async def fill(self, hole: Hole) -> None:
        """Fill a hole, unless its result exists."""
        if any(record.name == hole.name for record in self.records.rows):
            return
        with self.variant.applied():
            self.records.add(measure(hole, "pipeline", await self.evaluator.pipeline(hole)))


async def _run_all(
    variants: Sequence[Variant],
    typed_passages: Sequence[Passage],
    holes: Sequence[Hole],
    model: str,
    gap_ms: int,
    context_provider: ContextProvider,
    folder: Path,
) -> list[_VariantRun]:
    """Type all passages and fill all holes with each variant, by turns."""
    engine = ManagedEngine(EngineSettings(model=model, idle_timeout_s=60), _ENGINE_COMMAND)
    runs = [_VariantRun.create(variant, engine, context_provider, folder) for variant in variants]
    try:
        await engine.info()
        with Progress(console=Console(stderr=True), transient=True) as progress:
            total = len(runs) * (len(typed_passages) + len(holes))
            task = progress.add_task("variants", total=total)
            for turn in range(len(typed_passages)):
                for offset, run in enumerate(runs):
                    index = (turn + offset) % len(typed_passages)
                    await run.type(typed_passages[index], gap_ms, index)
                    progress.advance(task)
            for turn in range(len(holes)):
                for offset, run in enumerate(runs):
                    await run.fill(holes[(turn + offset) % len(holes)])
                    progress.advance(task)
    finally:
        await engine.aclose()
    return runs


_COLUMNS = (
    "without",
    "exact",
    "parses",
    "keys saved",
    "requests per accepted character",
    "keys without the model",
    "p50 ms",
    "p95 ms",
    "shown",
    "doubled",
    "broke",
)


def _cells(summary: Summary, row: Row | None) -> tuple[str, ...]:
    return (
        "" if row is None else f"{row.exact:.1%}",
        "" if row is None or row.parses is None else f"{row.parses:.0%}",
        f"{summary.saved:.1%}",
        _number(summary.calls_per_kept, "{:.2f}"),
        _number(summary.without_model, "{:.0%}"),
        _number(summary.p50_ms, "{:.0f}"),
        _number(summary.p95_ms, "{:.0f}"),
        f"{summary.shown}",
        f"{summary.doubled + summary.repeated}",
        f"{summary.broke}",
    )


def _number(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def main(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of source files, or of pairs with --releases.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results of all holes and passages.")],
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Leave out only mechanisms whose name contains this. Default: all."),
    ] = None,
    files: Annotated[int, typer.Option(min=1, help="Number of passages to type.")] = 20,
    lines: Annotated[int, typer.Option(min=1, help="Lines per passage.")] = 4,
    count: Annotated[int, typer.Option(min=0, help="Number of holes: lines and blocks.")] = 200,
    gap_ms: Annotated[int, typer.Option(min=1, help="Median milliseconds between keys.")] = 150,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    releases: Annotated[
        bool, typer.Option(help="The folders have pairs of releases, such as PAIRS/report.")
    ] = False,
) -> None:
    """Print a table with a row for each mechanism that is left out."""
    out.mkdir(parents=True, exist_ok=True)
    with sources_of(paths, releases=releases) as sources, TemporaryDirectory() as runtime:
        typed_passages = passages(sources, files, lines, seed)
        kinds = [HoleKind.LINE, HoleKind.LINE, HoleKind.BLOCK]
        holes = draw_holes(sources, kinds, count, seed) if count else []
        if not typed_passages:
            raise ConfigurationError(f"{paths[0]} has no source files that are long enough.")
        provider = context_provider_for(sources)
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = runtime  # do not use the engine of an editor
        runs = asyncio.run(
            _run_all(_select(only), typed_passages, holes, model, gap_ms, provider, out)
        )
    _report(f"{model}: {len(typed_passages)} passages, {len(holes)} holes", runs, out)


@contextmanager
def sources_of(paths: Sequence[Path], *, releases: bool) -> Iterator[list[File]]:
    """Yield the files of folders, or those with added lines of pairs of releases in folders."""
    if not releases:
        yield source_files(*paths)
        return
    with private_folder() as scratch:
        yield [
            replace(file, path=f"{pair.package}/{file.path}")
            for path in paths
            for pair in find_pairs(path)
            for file in added_since(pair.new, pair.old, scratch / pair.package)
        ]


def _select(only: Sequence[str] | None) -> list[Variant]:
    """Return the complete product, and the variants whose name contains one of the texts."""
    complete, *variants = VARIANTS
    matching = [v for v in variants if not only or any(text in v.without for text in only)]
    return [complete, *matching]


def _report(title: str, runs: Sequence[_VariantRun], folder: Path) -> None:
    table = Table(title=title)
    for column in _COLUMNS:
        table.add_column(column)
    summaries: dict[str, Any] = {}
    for run in runs:
        summary = summarize(run.all_counts.rows)
        all_rows = rows(run.records.rows, lambda _: "all")
        table.add_row(run.variant.without, *_cells(summary, all_rows[0] if all_rows else None))
        summaries[run.variant.without] = summary.row()
    Console(width=160).print(table)
    (folder / "sums.json").write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
