"""Quality lost with fewer bits: nats per token, exact match of lines, and unchanged lines.

Lines are cut out of the files of a folder, and the model alone fills each in every number format.
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
from benchmarks.stepped_scheduler import SteppedScheduler, text_of
from engine.api import GenerationRequest
from engine.network.model import LoadedModel
from fim.evaluation.files import source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import DEFAULT_FORM, FORMS
from fim.snapshot import Snapshot

DTYPES = ("float32", "bfloat16", "int8", "int4")
_MAX_NEW_TOKENS = 48


def _fill_line(scheduler: SteppedScheduler, model: LoadedModel, hole: Hole) -> str:
    """Return the model's output up to the end of the line."""
    family = detect(model.tokenizer)
    text = hole.prefix + hole.suffix
    snapshot = Snapshot("u", hole.language, text, len(hole.prefix))
    form = next((form for form in FORMS if form == model.info.fim_form), DEFAULT_FORM)
    limit = min(1024, model.context_window - _MAX_NEW_TOKENS)
    prompt = build(snapshot, family, model.tokenizer.encode, limit, form)
    request = GenerationRequest(
        prompt, _MAX_NEW_TOKENS, stop_ids=family.stop_ids, stop_text=("\n",)
    )
    scheduler.clear()
    return text_of(scheduler.run(request)).strip()


def _mean_nats(
    scheduler: SteppedScheduler, model: LoadedModel, texts: list[str]
) -> tuple[float, int]:
    """Return the mean loss per token of the texts, in nats, and the number of scored tokens."""
    logprobs: list[float] = []
    for text in texts:
        ids = model.tokenizer.encode(text)[: model.context_window - 1]
        if len(ids) >= 2:
            scheduler.clear()
            scores = scheduler.score(tuple(ids), 0)
            logprobs += [score.logprob for score in scores if score is not None]
    return -sum(logprobs) / len(logprobs), len(logprobs)


def main(
    path: Annotated[Path, typer.Argument(help="Folder of source files, under git.")],
    model: ModelOption = "demo",
    count: Annotated[int, typer.Option(min=1, help="Maximum number of lines to fill.")] = 500,
    files: Annotated[int, typer.Option(min=1, help="Maximum number of files to score.")] = 100,
    json_file: JsonOption = None,
) -> None:
    """Fill lines and score files in each number format."""
    sources = sorted(source_files(path), key=str)
    holes = draw_holes(sources, [HoleKind.LINE], count, 0)
    texts = [hole.prefix + hole.middle + hole.suffix for hole in holes[:files]]
    table = Table(title=f"{model}: {len(holes)} lines")
    for column in ("", "nats per token", "exact match", "same as float32", "tokens"):
        table.add_column(column, justify="right")
    float32_lines: list[str] = []
    figures = {}
    for dtype in DTYPES:
        loaded = load_ours(model, dtype)
        scheduler = SteppedScheduler(loaded)
        lines = [
            _fill_line(scheduler, loaded, hole) for hole in track(holes, dtype, transient=True)
        ]
        float32_lines = float32_lines or lines
        nats, num_tokens = _mean_nats(scheduler, loaded, texts)
        exact = sum(line == hole.middle.strip() for line, hole in zip(lines, holes, strict=True))
        same = sum(line == other for line, other in zip(lines, float32_lines, strict=True))
        figures[dtype] = {
            "nats": nats,
            "exact": exact / len(holes),
            "same": same / len(holes),
        }
        table.add_row(
            dtype,
            f"{nats:.4f}",
            f"{exact / len(holes):.3f}",
            f"{same / len(holes):.3f}",
            str(num_tokens),
        )
        del loaded, scheduler  # free the memory before the next model is loaded
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
