"""What fewer bits cost: nats a token, exact match of lines, and how often the line stays the same.

Lines are cut out of the files of a folder; the model alone fills each in every precision.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, load_ours
from benchmarks.stepped_scheduler import run_alone, score_alone, text_of
from engine.api import GenerationRequest
from engine.network.model import LoadedModel
from fim.evaluation.files import source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import DEFAULT_FORM, FORMS
from fim.snapshot import Snapshot

DTYPES = ("float32", "bfloat16", "int8", "int4")
_MOST_TOKENS = 48


def _line(model: LoadedModel, hole: Hole) -> str:
    """Return what the model writes up to the end of the line."""
    tokenizer, family = model.tokenizer, detect(model.tokenizer)
    text = hole.prefix + hole.suffix
    snapshot = Snapshot("u", hole.language, text, len(hole.prefix))
    form = next((form for form in FORMS if form == model.info.fim_form), DEFAULT_FORM)
    limit = min(1024, model.info.context_window - _MOST_TOKENS)
    prompt = build(snapshot, family, tokenizer.encode, limit, form)
    request = GenerationRequest(
        prompt.ids, _MOST_TOKENS, stop_ids=family.stop_ids, stop_text=("\n",)
    )
    return text_of(run_alone(model, request)).strip()


def _nats(model: LoadedModel, texts: list[str]) -> tuple[float, int]:
    """Return the loss summed over texts, and their tokens."""
    total, count = 0.0, 0
    for text in texts:
        ids = model.tokenizer.encode(text)[: model.info.context_window - 1]
        if len(ids) < 2:
            continue
        scores = score_alone(model, tuple(ids))
        found = [score.logprob for score in scores if score is not None]
        total -= sum(found)
        count += len(found)
    return total, count


def main(
    path: Annotated[Path, typer.Argument(help="A folder of source files, under git.")],
    model: ModelOption = "demo",
    count: Annotated[int, typer.Option(min=1, help="Lines to fill at most.")] = 500,
    files: Annotated[int, typer.Option(min=1, help="Files to score at most.")] = 100,
    json_file: JsonOption = None,
) -> None:
    """Fill and score in each precision."""
    sources = sorted(source_files(path), key=str)
    holes = draw_holes(sources, [HoleKind.LINE], count, 0)
    texts = [hole.prefix + hole.middle + hole.suffix for hole in holes[:files]]
    table = Table(title=f"{model}: {len(holes)} lines")
    for column in ("", "nats a token", "exact match", "same as float32", "tokens"):
        table.add_column(column, justify="right")
    first: list[str] = []
    figures = {}
    for dtype in DTYPES:
        held = load_ours(model, dtype)
        lines = [_line(held, hole) for hole in track(holes, dtype, transient=True)]
        first = first or lines
        nats, tokens = _nats(held, texts)
        exact = sum(a == hole.middle.strip() for a, hole in zip(lines, holes, strict=True))
        same = sum(a == b for a, b in zip(lines, first, strict=True))
        figures[dtype] = {
            "nats": nats / tokens,
            "exact": exact / len(holes),
            "same": same / len(holes),
        }
        table.add_row(
            dtype,
            f"{nats / tokens:.4f}",
            f"{exact / len(holes):.3f}",
            f"{same / len(holes):.3f}",
            str(tokens),
        )
        del held  # before the next one asks what memory is free
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
