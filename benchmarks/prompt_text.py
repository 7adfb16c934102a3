"""What each kind of text before the document adds: excerpts of other files, edits, diagnostics.

The rest of lines that commits added is given to the model, after prompts with and without this
text. The measure is the log-probability of the right text, which needs far fewer lines than exact
matches. The tree is that before the commit; half of the commit's other edits are recent edits (see
`fim.evaluation.commit_edits`). The diagnostics are those of ruff's rules F (Pyflakes) for Python
files, with `pass` in place of the line. They cost room: a prompt has the same limit with them.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, machine
from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.evaluation.files import File
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.evaluation.older_trees import added_in_commits, private_folder
from fim.evaluation.project_context import context_provider_for, hole_uri
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import DEFAULT_FORM, FORMS
from fim.snapshot import Problem, Snapshot

VARIANTS = ("document", "excerpts", "excerpts, edits", "excerpts, diagnostics", "all")
"""The texts of a prompt. Each has the path of the document too."""

_INDENTATION = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Score:
    """What the model says of the right text after one prompt."""

    hole: str
    variant: str
    has_more: bool
    """Whether the prompt differs from that with the document alone."""
    nats: float
    """Negative log-probability of the right text."""
    tokens: int
    is_likeliest: bool
    """Whether each token is the likeliest one, so that greedy decoding writes this text."""
    prompt_tokens: int


def problems_of(hole: Hole) -> tuple[Problem, ...]:
    """Return the diagnostics of a Python file whose hole somebody is about to fill."""
    if hole.language != "python":
        return ()
    start = hole.prefix.rfind("\n") + 1
    indentation = _INDENTATION.match(hole.prefix, start)
    text = f"{hole.prefix[:start]}{indentation[0] if indentation else ''}pass{hole.suffix}"
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "-q"]
    command += ["--stdin-filename", "a.py", "--output-format", "json", "-"]
    output = subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout
    return tuple(
        Problem(row["location"]["row"] - 1, row["message"].replace("`", "'"))
        for row in json.loads(output)
    )


def without(snapshot: Snapshot, variant: str) -> Snapshot:
    """Return a snapshot with the texts of a variant."""
    is_all = variant == "all"
    return replace(
        snapshot,
        excerpts=() if variant == "document" else snapshot.excerpts,
        edits=snapshot.edits if is_all or "edits" in variant else (),
        problems=snapshot.problems if is_all or "diagnostics" in variant else (),
    )


class _Scorer:
    """Scores right texts with one engine."""

    def __init__(self, model: str, max_tokens: int) -> None:
        self.engine = LocalEngine(EngineSettings(model=model))
        self._max_tokens = max_tokens

    async def scores(self, hole: Hole, snapshot: Snapshot) -> list[Score]:
        """Return the scores of a hole after the prompt of each variant."""
        tokenizer, info = await self.engine.tokenizer(), await self.engine.info()
        family = detect(tokenizer)
        form = next((form for form in FORMS if form == info.fim_form), DEFAULT_FORM)
        right = tuple(tokenizer.encode(hole.middle))
        scores: dict[tuple[int, ...], Score] = {}
        results = []
        first: tuple[int, ...] = ()
        for variant in VARIANTS:
            chosen = without(snapshot, variant)
            prompt = build(chosen, family, tokenizer.encode, self._max_tokens, form)
            first = first or prompt
            if prompt not in scores:
                scores[prompt] = await self._score(hole.name, prompt, right)
            has_more = prompt != first
            results.append(replace(scores[prompt], variant=variant, has_more=has_more))
        return results

    async def _score(self, hole: str, prompt: tuple[int, ...], right: tuple[int, ...]) -> Score:
        logprobs = (await self.engine.score((*prompt, *right), 1))[len(prompt) :]
        scored = [each for each in logprobs if each is not None]
        is_likeliest = all(each.top[0][0] == id_ for each, id_ in zip(scored, right, strict=True))
        nats = -sum(each.logprob for each in scored)
        return Score(hole, "", False, nats, len(right), is_likeliest, len(prompt))


async def _run(
    holes: Sequence[Hole], files: Sequence[File], model: str, max_tokens: int
) -> list[Score]:
    scorer = _Scorer(model, max_tokens)
    add_context = context_provider_for(files)
    scores: list[Score] = []
    try:
        if detect(await scorer.engine.tokenizer()).files is None:
            raise typer.BadParameter(f"{model} has no tokens for files, so it gets no such text.")
        for hole in track(holes, "scoring"):
            text = hole.prefix + hole.suffix
            snapshot = Snapshot(hole_uri(hole.name), hole.language, text, len(hole.prefix))
            snapshot = replace(snapshot, problems=await asyncio.to_thread(problems_of, hole))
            snapshot = await add_context(snapshot, excerpts=True, passages=False)
            scores += await scorer.scores(hole, snapshot)
    finally:
        await scorer.engine.aclose()
    return scores


def summarize(scores: Sequence[Score]) -> list[dict[str, float | str]]:
    """Return a row for each variant; its gain is that over the document alone."""
    alone = {score.hole: score for score in scores if score.variant == VARIANTS[0]}
    rows: list[dict[str, float | str]] = []
    for variant in VARIANTS:
        own = [score for score in scores if score.variant == variant]
        gains = [alone[score.hole].nats - score.nats for score in own]
        error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
        rows.append(
            {
                "text": variant,
                "lines": len(own),
                "with more text": sum(score.has_more for score in own),
                "nats per token": sum(s.nats for s in own) / sum(s.tokens for s in own),
                "gain in nats per line": statistics.mean(gains),
                "standard error": error,
                "likeliest": statistics.mean(score.is_likeliest for score in own),
                "prompt tokens": statistics.mean(score.prompt_tokens for score in own),
            }
        )
    return rows


def main(
    folder: Annotated[Path, typer.Argument(help="A folder in a git repository.")],
    commits: Annotated[
        str, typer.Option(help="A number of commits, or a range such as v1..v2.")
    ] = "100",
    model: ModelOption = "demo",
    holes: Annotated[int, typer.Option(min=2, help="Number of lines.")] = 200,
    max_tokens: Annotated[int, typer.Option(help="Maximum length of a prompt.")] = 2048,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Score the rest of lines that commits added, and print a row for each text of the prompt."""
    with private_folder() as scratch:
        files, counts = added_in_commits(folder, commits, seed, scratch)
        chosen = draw_holes(files, [HoleKind.LINE], holes, seed)
        scores = asyncio.run(_run(chosen, files, model, max_tokens))
    rows = summarize(scores)
    title = f"{model}; {len(chosen)} lines of {counts.used} commits; {machine()['cpu']}"
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(
            *(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row.values())
        )
    Console(width=140).print(table)
    if json_file is not None:
        results = {"machine": machine(), "rows": rows, "scores": [asdict(each) for each in scores]}
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
