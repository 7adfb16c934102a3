"""`starcoder-lsp replay PATH`: type files through the real server, and count the saved keys."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from engine.errors import ConfigurationError
from fim.evaluation.counts import AcceptedPart, Passage, TypingCounts
from fim.evaluation.files import File, Sample, source_files
from fim.evaluation.replay import Summary, counts_from_json, passages, summarize
from fim.evaluation.typing_rhythm import MEDIAN_MS, random_rhythm, recorded_rhythm
from fim.evaluation.typist import Typist
from fim.settings import Eagerness
from lsp_server.cli import common, terminal
from lsp_server.cli.added_lines import DIFFERENCE, ONLY_RANDOM, FromGit, Since, added_files
from lsp_server.cli.editor import ScriptedEditor, editor_with_server
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
    since: Since = None,
    from_git: FromGit = None,
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
        # Also type files that git ignores, such as those of a virtual environment.
        settings = {
            "model": model,
            **client_settings(server),
            "eagerness": eagerness,
            "adapter": adapter,
            "statistics": False,
            "respectGitignore": False,
        }
        with added_files(paths, since, from_git, seed) as added:
            workspaces = _workspaces(paths, added, files, lines, seed)
            used = asyncio.run(_type_all(workspaces, settings, gaps, accept, closing, results))
        names = {passage.name for workspace in workspaces for passage in workspace.passages}
        by_sample = _by_sample([counts for counts in results.rows if counts.name in names])
        address = None if server is None else server.address
        used = used or model if address is None else used
        where = "" if address is None else f" at {address}"
        _print_summary(by_sample, f"{used}{where}".strip())
        if summary is not None:
            row = {"model": used, "server": address, **_summary_json(by_sample)}
            write_output(summary, json.dumps(row, indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class _Workspace:
    """Passages that are typed in one server, which has these folders open."""

    roots: Sequence[Path]
    passages: Sequence[Passage]


def _workspaces(
    paths: Sequence[Path], added: Sequence[File], files: int, lines: int, seed: int
) -> list[_Workspace]:
    """Return the passages of the paths, and of each older tree with added lines.

    Each tree gets a server of its own, because a newer tree contains what is typed in an older one.
    """
    workspaces = [_Workspace(paths, passages(source_files(*paths), files, lines, seed))]
    added_passages = passages(added, files, lines, seed)
    for root in dict.fromkeys(passage.file.root for passage in added_passages):
        in_root = [passage for passage in added_passages if passage.file.root == root]
        workspaces.append(_Workspace([root], in_root))
    if not workspaces[0].passages or (added and not added_passages):
        what = "source files that are" if not workspaces[0].passages else "added passages that are"
        raise ConfigurationError(
            f"{paths[0]} has no {what} long enough. Give another folder, or fewer --lines."
        )
    return workspaces


async def _type_all(
    workspaces: Sequence[_Workspace],
    settings: dict[str, Any],
    gaps: Iterator[float],
    accept: AcceptedPart,
    closing: bool,
    results: Results[TypingCounts],
) -> str:
    """Type the passages that `results` lacks; returns the name of the model, if it was needed."""
    done = {counts.name for counts in results.rows}
    total = sum(len(workspace.passages) for workspace in workspaces)
    model = ""
    with Progress(console=common.stderr(), transient=True) as progress:
        task = progress.add_task("typing", total=total)
        for workspace in workspaces:
            remaining = [passage for passage in workspace.passages if passage.name not in done]
            progress.advance(task, len(workspace.passages) - len(remaining))
            if not remaining:
                continue
            async with editor_with_server(settings, workspace.roots) as editor:
                for passage in remaining:
                    await _open(editor, passage)
                    typist = Typist(editor, passage, gaps, accept, closing=closing)
                    results.add(await typist.type())
                    progress.advance(task)
                model = str(editor.status.get("model") or "")
    return model


async def _open(editor: ScriptedEditor, passage: Passage) -> None:
    """Open a passage's file without the passage, and wait for the model."""
    file = passage.file
    editor.open(passage.initial_text, file.absolute_path.as_uri(), file.language)
    await editor.wait_until_ready()
    editor.cursor = passage.start


def _by_sample(all_counts: Sequence[TypingCounts]) -> dict[Sample, list[TypingCounts]]:
    """Return the counts of each kind of lines, random ones first."""
    by_sample = {
        sample: [counts for counts in all_counts if counts.sample == sample] for sample in Sample
    }
    return {sample: counts for sample, counts in by_sample.items() if counts}


def _summary_json(by_sample: dict[Sample, list[TypingCounts]]) -> dict[str, Any]:
    """Return the summary of random lines; that of added lines, if there are any, is in `added`."""
    row = summarize(by_sample.get(Sample.RANDOM, ())).row()
    if (added := by_sample.get(Sample.ADDED)) is not None:
        row["added"] = summarize(added).row()
    return row


def _print_summary(by_sample: dict[Sample, list[TypingCounts]], model: str) -> None:
    total = sum(map(len, by_sample.values()))
    number = "1 passage" if total == 1 else f"{total} passages"
    tables = [dict(_rows(summarize(counts), counts)) for counts in by_sample.values()]
    rows = [(name, *(table[name] for table in tables)) for name in tables[0]]
    has_several = len(by_sample) > 1
    columns = ("", *(f"{sample} lines" for sample in by_sample)) if has_several else ("", "")
    shown = [row for row in rows if any(row[1:])]
    terminal.print_table(f"{number} typed with {model}", columns, shown)
    terminal.print_line(DIFFERENCE if has_several else ONLY_RANDOM)


def _rows(totals: Summary, all_counts: Sequence[TypingCounts]) -> tuple[tuple[str, str], ...]:
    accepted = Counter[str]()
    for counts in all_counts:
        accepted.update(counts.accepted)
    parts = ", ".join(f"{count} {part}" for part, count in accepted.items())
    return (
        ("passages", f"{totals.passages}"),
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
