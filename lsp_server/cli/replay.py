"""`starcoder-lsp replay PATH`: type real files through the real server, and count what it saved."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.errors import ConfigurationError
from fim.evaluation.counts import AcceptedPart, Passage, TypingCounts
from fim.evaluation.files import source_files
from fim.evaluation.replay import Summary, counts_from_json, passages, summarize
from fim.evaluation.typing_rhythm import MEDIAN_MS, random_rhythm, recorded_rhythm
from fim.evaluation.typist import Typist
from fim.settings import Eagerness
from lsp_server.cli import common
from lsp_server.cli.editor import editor_with_server
from lsp_server.cli.results import Results


def replay(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Repositories, or folders of source.")
    ],
    files: Annotated[int, typer.Option(min=1, help="How many, drawn at random.")] = 20,
    lines: Annotated[int, typer.Option(min=1, help="Lines to type in each.")] = 6,
    rhythm: Annotated[
        Path | None,
        typer.Option(help="A recording: a JSON list of the milliseconds before each key."),
    ] = None,
    gap_ms: Annotated[
        int, typer.Option(min=1, help="Median pause between keys, without a recording.")
    ] = MEDIAN_MS,
    accept: Annotated[
        AcceptedPart,
        typer.Option(help="The smallest part of a suggestion that is taken if it is right."),
    ] = AcceptedPart.LINE,
    closing: Annotated[
        bool, typer.Option(help="Whether the editor closes brackets and quotes.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of files, passages and pauses.")] = 0,
    model: common.Model = common.DEFAULT_MODEL,
    eagerness: Annotated[Eagerness, typer.Option(help="As the setting.")] = "balanced",
    adapter: Annotated[str | None, typer.Option(help="An adapter that `tune` made.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON lines, one a passage; what is in it is kept.")
    ] = None,
    summary: Annotated[Path | None, typer.Option("--json", help="Write the sums here.")] = None,
) -> None:
    """Type passages of real files key by key, accepting what is right, and count what was saved.

    A suggestion is accepted when it, or its first lines, is what the file goes on with.
    """
    with common.plain_errors():
        chosen = passages(source_files(*paths), files, lines, seed)
        if not chosen:
            raise ConfigurationError(f"{paths[0]} has no files of source that are long enough.")
        results = Results(out, counts_from_json)
        gaps = random_rhythm(gap_ms, seed) if rhythm is None else recorded_rhythm(rhythm)
        # Files in a virtual environment are as good as any here, though git ignores them.
        settings = {
            "model": model,
            "eagerness": eagerness,
            "adapter": adapter,
            "statistics": False,
            "respectGitignore": False,
        }
        asyncio.run(_type_all(paths, chosen, settings, gaps, accept, closing, results))
    names = {passage.name for passage in chosen}
    all_counts = [counts for counts in results.rows if counts.name in names]
    found = summarize(all_counts)
    Console(highlight=False).print(_table(found, all_counts))
    if summary is not None:
        summary.write_text(json.dumps(found.row(), indent=1) + "\n", encoding="utf-8")


async def _type_all(
    roots: Sequence[Path],
    chosen: Sequence[Passage],
    settings: dict[str, Any],
    gaps: Iterator[float],
    accept: AcceptedPart,
    closing: bool,
    results: Results[TypingCounts],
) -> None:
    done = {counts.name for counts in results.rows}
    waiting = [passage for passage in chosen if passage.name not in done]
    if not waiting:
        return
    with Progress(console=common.stderr(), transient=True) as progress:
        task = progress.add_task("typing", total=len(chosen), completed=len(chosen) - len(waiting))
        async with editor_with_server(settings, roots) as editor:
            for number, passage in enumerate(waiting):
                file = passage.file
                editor.open(passage.initial_text, file.absolute_path.as_uri(), file.language)
                if number == 0:
                    await editor.wait_until_ready()
                editor.cursor = passage.start
                typist = Typist(editor, passage, gaps, accept, closing=closing)
                results.add(await typist.type())
                progress.advance(task)


def _table(found: Summary, all_counts: Sequence[TypingCounts]) -> Table:
    table = Table(title=f"{found.passages} passages typed", title_justify="left", show_header=False)
    accepted = Counter[str]()
    for counts in all_counts:
        accepted.update(counts.accepted)
    parts = ", ".join(f"{count} {part}" for part, count in accepted.items())
    after = found.keys_after_first
    for name, value in (
        ("keys it takes without suggestions", f"{found.plain_keys}"),
        ("keys pressed", f"{found.keys}"),
        ("keys saved", f"{found.saved:.1%}"),
        ("suggestions shown", f"{found.shown}"),
        ("kept: right to the end", _of(found.kept_whole, found.shown)),
        ("kept: right in their first lines or words", _of(found.kept_in_part, found.shown)),
        ("accepted", parts or "none"),
        ("calls of the model", f"{found.calls}"),
        ("calls for each accepted character", _number(found.calls_per_kept, "{:.2f}")),
        (f"of {after} keys after a first suggestion", ""),
        ("  answered in time, model not asked", _number(found.without_model, "{:.0%}")),
        ("  no answer before the next key", _number(found.late, "{:.0%}")),
        (
            "suggestions for which the model was not asked",
            _number(found.helped_without_model, "{:.0%}"),
        ),
        ("time to a suggestion, p50", _number(found.p50_ms, "{:.0f} ms")),
        ("time to a suggestion, p95", _number(found.p95_ms, "{:.0f} ms")),
        ("doubled a bracket", f"{found.doubled}"),
        ("repeated what stands behind", f"{found.repeated}"),
        ("broke a file that parsed", _of(found.broke, found.parsed)),
    ):
        table.add_row(name, value)
    return table


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else f"{part}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
