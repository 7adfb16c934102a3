"""`starcoder-lsp replay PATH`: type files through the real server, and count the saved keys."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from engine.errors import ConfigurationError
from fim.evaluation.counts import AcceptedPart, Passage, TypingCounts
from fim.evaluation.files import source_files
from fim.evaluation.replay import Summary, counts_from_json, passages, summarize
from fim.evaluation.typing_rhythm import MEDIAN_MS, random_rhythm, recorded_rhythm
from fim.evaluation.typist import Typist
from fim.settings import Eagerness
from lsp_server.cli import common, terminal
from lsp_server.cli.editor import editor_with_server
from lsp_server.cli.engine_server import client_settings, read_server
from lsp_server.cli.outputs import check_output, write_output
from lsp_server.cli.results import Results


def replay(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Repositories, or folders of source files."),
    ],
    files: Annotated[int, typer.Option(min=1, help="Number of files, chosen at random.")] = 20,
    lines: Annotated[int, typer.Option(min=1, help="Lines to type in each file.")] = 6,
    rhythm: Annotated[
        Path | None,
        typer.Option(help="Recorded rhythm: a JSON list of the milliseconds before each key."),
    ] = None,
    gap_ms: Annotated[
        int, typer.Option(min=1, help="Median milliseconds between keys, without --rhythm.")
    ] = MEDIAN_MS,
    accept: Annotated[
        AcceptedPart,
        typer.Option(help="The smallest correct part of a suggestion that is accepted."),
    ] = AcceptedPart.LINE,
    closing: Annotated[
        bool, typer.Option(help="Whether the editor closes brackets and quotes.")
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Seed of the random choice of files, passages and pauses.")
    ] = 0,
    model: common.Model = common.DEFAULT_MODEL,
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    engine_model: common.EngineModel = None,
    tokenizer: common.TokenizerOption = None,
    eagerness: Annotated[
        Eagerness, typer.Option(help="The setting starcoder.eagerness.")
    ] = "balanced",
    adapter: Annotated[str | None, typer.Option(help="Use this adapter, made by `tune`.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the results as JSON lines; results in it are kept and not repeated."
        ),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--json", help="Write the summary to this file, as JSON.")
    ] = None,
) -> None:
    """Type passages of real files key by key, accept correct suggestions, and count saved keys.

    A suggestion is correct if the file continues with it, or with its first lines.
    """
    with common.plain_errors():
        check_output(summary, "--json")
        server = read_server(context, engine_url, engine_token, engine_model, tokenizer)
        results = Results(out, counts_from_json)
        gaps = random_rhythm(gap_ms, seed) if rhythm is None else recorded_rhythm(rhythm)
        typed_passages = passages(source_files(*paths), files, lines, seed)
        if not typed_passages:
            raise ConfigurationError(
                f"{paths[0]} has no source files that are long enough. Give another folder, or "
                "fewer --lines."
            )
        # Also type files that git ignores, such as those of a virtual environment.
        settings = {
            "model": model,
            **client_settings(server),
            "eagerness": eagerness,
            "adapter": adapter,
            "statistics": False,
            "respectGitignore": False,
        }
        used = asyncio.run(
            _type_all(paths, typed_passages, settings, gaps, accept, closing, results)
        )
        names = {passage.name for passage in typed_passages}
        all_counts = [counts for counts in results.rows if counts.name in names]
        totals = summarize(all_counts)
        address = None if server is None else server.address
        used = used or model if address is None else used
        where = "" if address is None else f" at {address}"
        _print_summary(totals, all_counts, f"{used}{where}".strip())
        if summary is not None:
            row = {"model": used, "server": address, **totals.row()}
            write_output(summary, json.dumps(row, indent=1) + "\n")


async def _type_all(
    roots: Sequence[Path],
    typed_passages: Sequence[Passage],
    settings: dict[str, Any],
    gaps: Iterator[float],
    accept: AcceptedPart,
    closing: bool,
    results: Results[TypingCounts],
) -> str:
    """Type the passages that `results` lacks; returns the name of the model, if it was needed."""
    done = {counts.name for counts in results.rows}
    remaining = [passage for passage in typed_passages if passage.name not in done]
    if not remaining:
        return ""
    total = len(typed_passages)
    with Progress(console=common.stderr(), transient=True) as progress:
        task = progress.add_task("typing", total=total, completed=total - len(remaining))
        async with editor_with_server(settings, roots) as editor:
            for number, passage in enumerate(remaining):
                file = passage.file
                editor.open(passage.initial_text, file.absolute_path.as_uri(), file.language)
                if number == 0:
                    await editor.wait_until_ready()
                editor.cursor = passage.start
                typist = Typist(editor, passage, gaps, accept, closing=closing)
                results.add(await typist.type())
                progress.advance(task)
            return str(editor.status.get("model") or "")


def _print_summary(totals: Summary, all_counts: Sequence[TypingCounts], model: str) -> None:
    number = "1 passage" if totals.passages == 1 else f"{totals.passages} passages"
    rows = [row for row in _rows(totals, all_counts) if row[1]]
    terminal.print_table(f"{number} typed with {model}", ("", ""), rows)


def _rows(totals: Summary, all_counts: Sequence[TypingCounts]) -> tuple[tuple[str, str], ...]:
    accepted = Counter[str]()
    for counts in all_counts:
        accepted.update(counts.accepted)
    parts = ", ".join(f"{count} {part}" for part, count in accepted.items())
    return (
        ("keys without suggestions", f"{totals.plain_keys}"),
        ("keys pressed", f"{totals.keys}"),
        ("keys saved", f"{totals.saved:.1%}"),
        ("suggestions shown", f"{totals.shown}"),
        ("correct to their end", _share(totals.kept_whole, totals.shown)),
        ("correct in their first lines or words", _share(totals.kept_in_part, totals.shown)),
        ("accepted", parts or "none"),
        ("requests to the model", f"{totals.calls}"),
        ("requests per accepted character", _number(totals.calls_per_kept, "{:.2f}")),
        ("keys after a first suggestion", f"{totals.keys_after_first}"),
        ("  answered in time without the model", _number(totals.without_model, "{:.0%}")),
        ("  without an answer before the next key", _number(totals.late, "{:.0%}")),
        (
            "suggestions without a request to the model",
            _number(totals.helped_without_model, "{:.0%}"),
        ),
        ("time to a suggestion, p50", _number(totals.p50_ms, "{:.0f} ms")),
        ("time to a suggestion, p95", _number(totals.p95_ms, "{:.0f} ms")),
        ("doubled a bracket", f"{totals.doubled}"),
        ("repeated the text after the cursor", f"{totals.repeated}"),
        ("broke a file that parsed", _share(totals.broke, totals.parsed)),
    )


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else f"{part}"


def _number(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)
