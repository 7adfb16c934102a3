"""What is shown unasked under each eagerness, and how much of it one would keep.

Rests of lines are cut out of real files, and completed as while one types. Of a suggestion those
first words are kept that the file goes on with; the model is asked once for each place.
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
class Sum:
    """What one way of showing came to."""

    eagerness: Eagerness
    partial: bool
    places: int = 0
    shown: int = 0
    exact: int = 0
    characters: int = 0
    """Of all that was shown, in the first line."""
    kept: int = 0
    """Of those, how many the file has there."""
    wrong: int = 0
    """Suggestions of which nothing is kept."""

    def add(self, text: str, middle: str) -> None:
        """Take note of what was shown, empty for nothing, where `middle` stood."""
        self.places += 1
        if not text:
            return
        line, wanted = text.split("\n")[0].rstrip(), middle.rstrip()
        kept = len(first_words(line, wanted))
        self.shown += 1
        self.exact += line == wanted
        self.characters += len(line)
        self.kept += kept
        self.wrong += kept == 0


async def measure(
    holes: Sequence[Hole], model: str, ways: Sequence[Sum], progress: Progress
) -> None:
    """Fill every hole in every way."""
    engine = ManagedEngine(EngineSettings(model=model))
    task = progress.add_task("completing", total=len(holes))
    try:
        for hole in holes:
            text = hole.prefix + hole.suffix
            snapshot = Snapshot(f"file:///{hole.name}", hole.language, text, len(hole.prefix))
            completer = Completer(engine, FimSettings(prefetch=False))
            for way in ways:
                completer.settings = replace(
                    completer.settings, eagerness=way.eagerness, show_partial=way.partial
                )
                result = await completer.complete(snapshot)
                one = result.suggestions[0] if result.suggestions else None
                written = one.applied_to(text)[len(hole.prefix) :] if one else ""
                end = len(written) - len(hole.suffix)
                way.add(written[:end] if one else "", hole.middle)
            progress.advance(task)
    finally:
        await engine.aclose()


def main(
    paths: Annotated[list[Path], typer.Argument(help="Folders of source files.")],
    model: Annotated[str, typer.Option()] = "demo",
    count: Annotated[int, typer.Option(min=1, help="Places.")] = 500,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="Write the sums here.")] = None,
) -> None:
    """Print a row for each eagerness, with beginnings of unsure lines and without."""
    holes = draw_holes(source_files(*paths), [HoleKind.LINE], count, seed)
    ways = [Sum(eagerness, partial) for eagerness in POLICIES for partial in (False, True)]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        asyncio.run(measure(holes, model, ways, progress))
    table = Table(title=f"{model}, {len(holes)} places")
    for column in (
        "eagerness",
        "beginnings too",
        "shown",
        "exact",
        "kept characters a place",
        "of what is shown kept",
        "wholly wrong",
    ):
        table.add_column(column)
    for way in ways:
        table.add_row(
            way.eagerness,
            "yes" if way.partial else "no",
            f"{way.shown / way.places:.0%}",
            f"{way.exact / way.places:.1%}",
            f"{way.kept / way.places:.2f}",
            f"{way.kept / max(1, way.characters):.0%}",
            f"{way.wrong / max(1, way.shown):.0%}",
        )
    Console(width=120).print(table)
    if out is not None:
        out.write_text(json.dumps([asdict(way) for way in ways], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)
