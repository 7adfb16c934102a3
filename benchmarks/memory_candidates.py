"""Candidates from the text of a project: how often they are right, and what choosing them gives.

The rest of a line is cut out of the newer of two releases, from a random column. Half of the lines
are random ones, with the project text of the newer release. Half were added since the older
release, with the project text of the older one. Only the second half says what new code gains,
because the other lines are often copies.

The probability of a continuation is a logistic regression. It is fitted on half of the packages and
checked on the others, and the weights for `fim.memory.probability` are fitted on all of them.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings
from fim.evaluation.files import File, source_files
from fim.evaluation.holes import Hole, HoleKind
from fim.evaluation.report import calibrations
from fim.evaluation.run import Evaluator, Record, measure
from fim.memory.candidates import MIN_MATCH, Continuation, continuations
from fim.memory.probability import features
from fim.postprocess.truncate import scope_of
from fim.settings import FimSettings
from fim.snapshot import Passage, Snapshot

_SIZES = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, MIN_MATCH)
"""Lengths of the text before the cursor that are searched."""
_MAX_PLACES = 200
_MAX_PASSAGES = 32
_ENOUGH = 12
_AFTER = 600
_BOUNDARY = "\0"
_MAX_CONTINUATIONS = 4
"""Maximum number of continuations per place that the regression sees."""
GROUPS = ("added", "random")
_CALIBRATION = ("calibration error, model", "chosen")

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """A hole with its passages."""

    package: str
    group: str
    """`added` or `random`."""
    hole: Hole
    snapshot: Snapshot

    def continuations(self) -> list[Continuation]:
        """Return what may follow according to the passages, the most probable first."""
        return continuations(self.snapshot, scope_of(self.snapshot))

    def is_right(self, continuation: Continuation) -> bool:
        """Return whether a continuation is the rest of the line."""
        return continuation.head.strip() == self.hole.middle.strip()


def places(pair: Path, count: int, seed: int) -> Iterator[Place]:
    """Yield `count` random and `count` added lines of a pair of releases with their passages."""
    rng = random.Random(f"{seed} {pair.name}")
    old, new = (
        {file.path: file for file in source_files(pair / name) if file.language == "python"}
        for name in ("old", "new")
    )
    lines = [(path, *span) for path, file in new.items() for span in _code_lines(file.text)]
    added_lines = _added(old, new)
    added = [
        line for line in lines if (line[0], new[line[0]].text[line[1] : line[2]]) in added_lines
    ]
    for group, chosen, corpus in (("random", lines, new), ("added", added, old)):
        for path, start, end in rng.sample(chosen, min(count, len(chosen))):
            text = new[path].text
            indent = len(text[start:end]) - len(text[start:end].lstrip())
            cursor = rng.randrange(start + indent, end)
            hole = Hole(
                f"{pair.name}/{path}:{cursor}-{end}:line",
                "python",
                HoleKind.LINE,
                text[:cursor],
                text[cursor:end],
                text[end:],
            )
            others = _BOUNDARY.join(file.text for name, file in corpus.items() if name != path)
            snapshot = Snapshot(f"eval:{hole.name}", "python", text[:cursor] + text[end:], cursor)
            passages = find_passages(snapshot, others)
            yield Place(pair.name, group, hole, replace(snapshot, passages=passages))


def _code_lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in text.split("\n"):
        if line.strip() and not line.strip().startswith("#") and len(line) <= 500:
            yield start, start + len(line.rstrip())
        start += len(line) + 1


def _added(old: dict[str, File], new: dict[str, File]) -> set[tuple[str, str]]:
    """Return path and text of the lines that a file has more often than its older version.

    Lines that were removed from any file may have been moved, and do not count.
    """
    before = {path: Counter(file.text.split("\n")) for path, file in old.items()}
    after = {path: Counter(file.text.split("\n")) for path, file in new.items()}
    nothing: Counter[str] = Counter()
    removed = {
        line.strip() for path, lines in before.items() for line in lines - after.get(path, nothing)
    }
    return {
        (path, line.rstrip())
        for path, lines in after.items()
        for line in lines - before.get(path, nothing)
        if line.strip() not in removed
    }


def find_passages(snapshot: Snapshot, others: str) -> tuple[Passage, ...]:
    """Return the places with the longest matches by a plain search, the longest first."""
    before = snapshot.before
    text = _BOUNDARY.join((others, before, snapshot.after))
    own_end = len(others) + 1 + len(before)
    lengths: dict[int, int] = {}
    for size in _SIZES:
        if size <= len(before):
            for end in islice(_ends(text, before[-size:]), _MAX_PLACES):
                if end != own_end and end not in lengths:
                    lengths[end] = _match_length(text, end, before)
        if len(lengths) >= _ENOUGH:
            break
    best = sorted(lengths, key=lambda end: (-lengths[end], -end))[:_MAX_PASSAGES]
    return tuple(_passage(text, end, lengths[end]) for end in best)


def _ends(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start + len(part)
        start = text.find(part, start + 1)


def _match_length(text: str, end: int, before: str) -> int:
    length = 0
    limit = min(end, len(before), _SIZES[0])
    while length < limit and text[end - length - 1] == before[-length - 1]:
        length += 1
    return length


def _passage(text: str, end: int, length: int) -> Passage:
    start = text.rfind("\n", 0, max(0, end - length) + 1) + 1
    boundary = text.rfind(_BOUNDARY, 0, end) + 1
    after = text[end : end + _AFTER].partition(_BOUNDARY)[0]
    return Passage(text[max(start, boundary) : end], after, length)


def fit(rows: Numbers, right: Numbers, penalty: float = 1.0) -> Numbers:
    """Return the weights of a logistic regression, by Newton's method with a small penalty."""
    weights = np.zeros(rows.shape[1])
    ridge = penalty * np.eye(rows.shape[1])
    for _ in range(30):
        predicted = 1 / (1 + np.exp(-rows @ weights))
        gradient = rows.T @ (right - predicted) - ridge @ weights
        curvature = (rows * (predicted * (1 - predicted))[:, None]).T @ rows + ridge
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights


@dataclass(frozen=True, slots=True)
class Evidence:
    """The continuations of all places as rows of a regression."""

    rows: Numbers
    right: Numbers
    place: NDArray[np.int64]
    """Number of the place to which each row belongs."""


def evidence(drawn: Sequence[Place]) -> Evidence:
    """Return a row for each of the few continuations with the longest matches of each place."""
    rows, right, numbers = [], [], []
    for number, place in enumerate(drawn):
        ordered = sorted(
            place.continuations(),
            key=lambda each: (-each.support.match_length, -each.support.agreeing),
        )
        for continuation in ordered[:_MAX_CONTINUATIONS]:
            rows.append(features(continuation.support))
            right.append(place.is_right(continuation))
            numbers.append(number)
    return Evidence(np.array(rows), np.array(right, np.float64), np.array(numbers))


def reliability(drawn: Sequence[Place]) -> None:
    """Print predicted and observed probabilities of packages that were not used for the fit."""
    data, packages = evidence(drawn), sorted({place.package for place in drawn})
    is_fit = np.isin([drawn[number].package for number in data.place], packages[::2])
    weights = fit(data.rows[is_fit], data.right[is_fit])
    best: dict[int, int] = {}
    scores = data.rows @ weights
    for row in np.flatnonzero(~is_fit):
        number = int(data.place[row])
        if number not in best or scores[row] > scores[best[number]]:
            best[number] = int(row)
    table = Table(title=f"fitted on {', '.join(packages[::2])}; checked on the others")
    for column in ("lines", "predicted", "observed", "continuations"):
        table.add_column(column, justify="right")
    for group in GROUPS:
        chosen = np.array([row for number, row in best.items() if drawn[number].group == group])
        predicted = 1 / (1 + np.exp(-scores[chosen]))
        for low in np.arange(10) / 10:
            inside = (predicted >= low) & (predicted < low + 0.1)
            if inside.any():
                means = (predicted[inside].mean(), data.right[chosen][inside].mean())
                table.add_row(group, *(f"{mean:.2f}" for mean in means), str(inside.sum()))
    Console().print(table)
    weights = fit(data.rows, data.right)
    Console().print("weights for fim.memory.probability:", [round(float(w), 3) for w in weights])


async def choose(drawn: Sequence[Place], model: str, progress: Progress) -> None:
    """Print how many lines the model, the memory and the choice between them complete exactly."""
    by_uri = {place.snapshot.uri: place.snapshot.passages for place in drawn}

    async def add_passages(snapshot: Snapshot, *, excerpts: bool, passages: bool) -> Snapshot:
        del excerpts, passages  # the model has no room for excerpts
        return replace(snapshot, passages=by_uri[snapshot.uri])

    engine = ManagedEngine(EngineSettings(model=model))
    alone, chosen = (
        Evaluator(engine, FimSettings(memory_override=override), context_provider=add_passages)
        for override in ("never", "always")
    )
    task = progress.add_task("completing", total=len(drawn))
    results: dict[str, list[Result]] = {group: [] for group in GROUPS}
    try:
        for place in drawn:
            hole = place.hole
            records = [
                measure(hole, "pipeline", await evaluator.pipeline(hole))
                for evaluator in (alone, chosen)
            ]
            best = next(iter(place.continuations()), None)
            is_right = best is not None and place.is_right(best)
            results[place.group].append(Result(records[0], records[1], memory=is_right))
            progress.advance(task)
    finally:
        await engine.aclose()
    _print_results(results)


@dataclass(frozen=True, slots=True)
class Result:
    """The results at one place."""

    model: Record
    chosen: Record
    memory: bool
    """Whether the most probable continuation is right."""


def _print_results(results: Mapping[str, Sequence[Result]]) -> None:
    table = Table(title="exact match of the rest of a line")
    for column in ("lines", "count", "model", "memory", "chosen", "one of them", *_CALIBRATION):
        table.add_column(column, justify="right")
    for group, rows in results.items():
        shares = (
            np.mean([row.model.exact for row in rows]),
            np.mean([row.memory for row in rows]),
            np.mean([row.chosen.exact for row in rows]),
            np.mean([row.model.exact or row.memory for row in rows]),
        )
        errors: list[float] = []
        for records in ([row.model for row in rows], [row.chosen for row in rows]):
            errors += [each.error for each in calibrations(records, lambda _: "")]
        table.add_row(
            group,
            str(len(rows)),
            *(f"{share:.1%}" for share in shares),
            *(f"{error:.3f}" for error in errors),
        )
    Console(width=120).print(table)


def main(
    pairs: Annotated[list[Path], typer.Argument(help="Folders with the folders `old` and `new`.")],
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    count: Annotated[int, typer.Option(min=1, help="Lines of each kind per pair.")] = 250,
    choices: Annotated[int, typer.Option(min=0, help="Of these, lines that the model fills.")] = 70,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
) -> None:
    """Print the reliability of the probabilities, the weights, and what choosing gives."""
    drawn = [place for pair in pairs for place in places(pair, count, seed)]
    reliability(drawn)
    numbers: Counter[tuple[str, str]] = Counter()
    filled = []
    for place in drawn:
        numbers[place.package, place.group] += 1
        if numbers[place.package, place.group] <= choices:
            filled.append(place)
    if filled:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            asyncio.run(choose(filled, model, progress))


if __name__ == "__main__":
    typer.run(main)
