"""What each mechanism gives: everything on, and then without one of them at a time.

Holes are filled and passages are typed with the same model, files and rhythm. All variants take
turns within one run, each at another passage, so that a slow minute of the machine falls on all.
The engine is one of their own that keeps little of what it has computed: none finds its prompt
there because another had it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.simulated_editor import SimulatedEditor
from engine.client.managed import ManagedEngine
from engine.errors import ConfigurationError
from engine.settings import EngineSettings
from fim.completer import Completer, ContextProvider
from fim.evaluation.counts import Passage, TypingCounts
from fim.evaluation.files import source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.evaluation.project_context import context_provider_for
from fim.evaluation.replay import Summary, counts_from_json, passages, summarize
from fim.evaluation.report import Row, rows
from fim.evaluation.run import Evaluator, Record, measure
from fim.evaluation.typing_rhythm import random_rhythm
from fim.evaluation.typist import Typist
from fim.settings import FimSettings
from lsp_server.cli.results import Results


@dataclass(frozen=True)
class Variant:
    """Everything on but one mechanism."""

    without: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Of `FimSettings`, other than the default."""
    patches: dict[str, Any] = field(default_factory=dict)
    """What stands where the product's own does, by `module:name` or `module:class.name`."""

    @property
    def fim(self) -> FimSettings:
        """The settings."""
        return replace(FimSettings(), **self.settings)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Put the patches in place for a while; a name that is no more raises AttributeError."""
        before = []
        for place, value in self.patches.items():
            owner, name = resolve(place)
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


def resolve(place: str) -> tuple[Any, str]:
    """Return the module or class that holds a patched name, and the name itself."""
    module, _, names = place.partition(":")
    owner: Any = importlib.import_module(module)
    *path, name = names.split(".")
    for one in path:
        owner = getattr(owner, one)
    return owner, name


def _same(text: str, *_: Any) -> str:
    return text


VARIANTS = (
    Variant("nothing"),
    Variant("typed-through", patches={"fim.request.cache:_MAX_TYPED_CHARACTERS": 0}),
    Variant("cache", settings={"cache_seconds": 0.02}),
    Variant("join in flight", patches={"fim.completer:Completer._joinable": lambda *_: None}),
    Variant("restraint in a word", settings={"max_misses": 0}),
    Variant("prefetch", settings={"prefetch": False}),
    Variant("draft", settings={"draft_from_previous": False}),
    Variant("window in steps", patches={"fim.prompt.window:BLOCK_LINES": 1}),
    Variant("suffix first: the line's form instead", settings={"form": "line"}),
    Variant("suffix first: the cursor's form instead", settings={"form": "cursor"}),
    Variant("the limit on other files: always read", settings={"related_files": "always"}),
    Variant("token healing", settings={"token_healing": False}),
    Variant("blocks", settings={"multiline": "never"}),
    Variant("confidence threshold", settings={"eagerness": "eager"}),
    Variant("sure beginnings", settings={"show_partial": False}),
    Variant("closed brackets", patches={"fim.postprocess.clean:doubled_closing": lambda *_: 0}),
    Variant("suffix overlap", patches={"fim.postprocess.clean:overlap": lambda *_: 0}),
    Variant(
        "loops",
        patches={
            "fim.postprocess.clean:without_repetition": _same,
            "fim.request.model:without_repetition": _same,
        },
    ),
    Variant("echoes", patches={"fim.postprocess.clean:_without_echo": _same}),
    Variant("secrets", patches={"fim.postprocess.clean:_without_forbidden": _same}),
    Variant("syntax", patches={"fim.postprocess.clean:cut_to_valid_syntax": _same}),
)
"""One line a mechanism."""


_COMMAND = (
    sys.executable,
    "-P",
    "-c",
    "import runpy\n"
    "from engine.machine import configure_threads\n"
    "configure_threads()\n"  # before torch is imported
    "from engine import scheduler\n"
    "scheduler.default_limit = lambda shape: 2 * shape.capacity * shape.bytes_a_row\n"
    "runpy.run_module('engine', run_name='__main__')\n",
)
"""Starts an engine that keeps caches for two prompts."""


@dataclass
class _Run:
    variant: Variant
    completer: Completer
    evaluator: Evaluator
    all_counts: Results[TypingCounts]
    records: Results[Record]

    @classmethod
    def of(
        cls,
        variant: Variant,
        engine: ManagedEngine,
        context_provider: ContextProvider,
        folder: Path,
    ) -> _Run:
        name = "".join(one if one.isalnum() else "-" for one in variant.without)
        return cls(
            variant,
            Completer(engine, variant.fim, context_provider),
            Evaluator(engine, variant.fim, context_provider=context_provider),
            Results(folder / f"{name}.replay.jsonl", counts_from_json),
            Results(folder / f"{name}.holes.jsonl", lambda row: Record(**row)),
        )

    async def type(self, passage: Passage, gap_ms: int, seed: int) -> None:
        if any(counts.name == passage.name for counts in self.all_counts.rows):
            return
        editor = SimulatedEditor(self.completer)
        file = passage.file
        editor.open(passage.initial_text, passage.start, file.absolute_path.as_uri(), file.language)
        with self.variant.on():
            self.all_counts.add(await Typist(editor, passage, random_rhythm(gap_ms, seed)).type())

    async def fill(self, hole: Hole) -> None:
        if any(record.name == hole.name for record in self.records.rows):
            return
        with self.variant.on():
            self.records.add(measure(hole, "pipeline", await self.evaluator.pipeline(hole)))


async def _run(
    variants: Sequence[Variant],
    chosen: Sequence[Passage],
    holes: Sequence[Hole],
    model: str,
    gap_ms: int,
    context_provider: ContextProvider,
    folder: Path,
) -> list[_Run]:
    engine = ManagedEngine(EngineSettings(model=model, idle_timeout_s=60), _COMMAND)
    runs = [_Run.of(variant, engine, context_provider, folder) for variant in variants]
    try:
        await engine.info()
        with Progress(console=Console(stderr=True), transient=True) as progress:
            total = len(runs) * (len(chosen) + len(holes))
            task = progress.add_task("without each", total=total)
            for turn in range(len(chosen)):
                for place, run in enumerate(runs):
                    passage = chosen[(turn + place) % len(chosen)]
                    await run.type(passage, gap_ms, chosen.index(passage))
                    progress.advance(task)
            for turn in range(len(holes)):
                for place, run in enumerate(runs):
                    await run.fill(holes[(turn + place) % len(holes)])
                    progress.advance(task)
    finally:
        await engine.aclose()
    return runs


def _row(summary: Summary, row: Row | None) -> tuple[str, ...]:
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


_COLUMNS = (
    "without",
    "exact",
    "parses",
    "keys saved",
    "calls a kept character",
    "keys without the model",
    "p50 ms",
    "p95 ms",
    "shown",
    "doubled",
    "broke",
)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def main(
    paths: Annotated[list[Path], typer.Argument(help="Folders of source files.")],
    out: Annotated[Path, typer.Option(help="Folder that keeps every hole and passage.")],
    model: Annotated[str, typer.Option()] = "demo",
    only: Annotated[
        list[str] | None, typer.Option(help="Mechanisms whose name holds this; by default all.")
    ] = None,
    files: Annotated[int, typer.Option(min=1, help="Passages to type.")] = 20,
    lines: Annotated[int, typer.Option(min=1, help="Lines of each.")] = 4,
    count: Annotated[int, typer.Option(min=0, help="Holes to fill, of lines and blocks.")] = 200,
    gap_ms: Annotated[int, typer.Option(min=1, help="Median pause between keys.")] = 150,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Print a table with a line for each mechanism that is left out."""
    out.mkdir(parents=True, exist_ok=True)
    found = source_files(*paths)
    chosen = passages(found, files, lines, seed)
    holes = (
        draw_holes(found, [HoleKind.LINE, HoleKind.LINE, HoleKind.BLOCK], count, seed)
        if count
        else []
    )
    if not chosen:
        raise ConfigurationError(f"{paths[0]} has no files of source that are long enough.")
    wanted = [
        variant
        for index, variant in enumerate(VARIANTS)
        if index == 0 or not only or any(name in variant.without for name in only)
    ]
    with TemporaryDirectory() as own:
        os.environ["STARCODER_LSP_RUNTIME_DIR"] = own  # no engine of an editor's is met there
        runs = asyncio.run(
            _run(wanted, chosen, holes, model, gap_ms, context_provider_for(found), out)
        )
    table = Table(title=f"{model}: {len(chosen)} passages, {len(holes)} holes")
    for column in _COLUMNS:
        table.add_column(column)
    kept: dict[str, Any] = {}
    for run in runs:
        summary = summarize(run.all_counts.rows)
        filled = rows(run.records.rows, lambda _: "all")
        table.add_row(run.variant.without, *_row(summary, filled[0] if filled else None))
        kept[run.variant.without] = summary.row()
    Console(width=160).print(table)
    (out / "sums.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
