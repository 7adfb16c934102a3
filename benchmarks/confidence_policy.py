"""Suggestions that are shown under each eagerness, and how much of them a user would keep.

Ends of lines are cut out of real files and completed as during typing. The first words of a
suggestion that agree with the file are kept. The model is asked once per cursor.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.evaluation.files import source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.evaluation.keystrokes import first_words
from fim.postprocess.confidence import POLICIES
from fim.settings import Eagerness, FimSettings
from fim.snapshot import Snapshot


@dataclass
class PolicyCounts:
    """Counts for one eagerness, with or without partial suggestions."""

    eagerness: Eagerness
    partial: bool
    places: int = 0
    """Number of cursors."""
    shown: int = 0
    """Cursors with a suggestion."""
    exact: int = 0
    """Suggestions whose first line is the line of the file."""
    characters: int = 0
    """Characters in the first lines of all suggestions."""
    kept: int = 0
    """Characters of these that agree with the file."""
    wrong: int = 0
    """Suggestions without a kept character."""

    def add(self, text: str, middle: str) -> None:
        """Count a suggestion, empty for none, for a hole that had the text `middle`."""
        self.places += 1
        if not text:
            return
        line, expected = text.split("\n")[0].rstrip(), middle.rstrip()
        kept = len(first_words(line, expected))
        self.shown += 1
        self.exact += line == expected
        self.characters += len(line)
        self.kept += kept
        self.wrong += kept == 0


async def measure(
    holes: Sequence[Hole], model: str, policies: Sequence[PolicyCounts], progress: Progress
) -> None:
    """Fill every hole under every policy."""
    engine = ManagedEngine(EngineSettings(model=model))
    task = progress.add_task("completing", total=len(holes))
    try:
        for hole in holes:
            text = hole.prefix + hole.suffix
            snapshot = Snapshot(f"file:///{hole.name}", hole.language, text, len(hole.prefix))
            completer = Completer(engine, FimSettings(prefetch=False))
            for policy in policies:
                completer.settings = replace(
                    completer.settings, eagerness=policy.eagerness, show_partial=policy.partial
                )
                result = await completer.complete(snapshot)
                suggestion = result.suggestions[0] if result.suggestions else None
                completed = suggestion.applied_to(text)[len(hole.prefix) :] if suggestion else ""
                end = len(completed) - len(hole.suffix)
                policy.add(completed[:end] if suggestion else "", hole.middle)
            progress.advance(task)
    finally:
        await engine.aclose()


_COLUMNS = (
    "eagerness",
    "partial suggestions",
    "shown",
    "exact",
    "kept characters per cursor",
    "kept share of shown characters",
    "nothing kept",
)


def main(
    paths: Annotated[list[Path], typer.Argument(help="Folders of source files.")],
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    count: Annotated[int, typer.Option(min=1, help="Number of cursors.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--json", help="Write the counts to this file.")
    ] = None,
) -> None:
    """Print a row for each eagerness, without and with partial suggestions."""
    holes = draw_holes(source_files(*paths), [HoleKind.LINE], count, seed)
    policies = [
        PolicyCounts(eagerness, partial) for eagerness in POLICIES for partial in (False, True)
    ]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        asyncio.run(measure(holes, model, policies, progress))
    table = Table(title=f"{model}, {len(holes)} cursors")
    for column in _COLUMNS:
        table.add_column(column)
    for policy in policies:
        table.add_row(
            policy.eagerness,
            "yes" if policy.partial else "no",
            f"{policy.shown / policy.places:.0%}",
            f"{policy.exact / policy.places:.1%}",
            f"{policy.kept / policy.places:.2f}",
            f"{policy.kept / max(1, policy.characters):.0%}",
            f"{policy.wrong / max(1, policy.shown):.0%}",
        )
    Console(width=120).print(table)
    if out is not None:
        rows = [asdict(policy) for policy in policies]
        out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)
