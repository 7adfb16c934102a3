"""Fills holes in releases with the full pipeline, with each of some settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.project_memory.counting import CountingEngine, difference
from benchmarks.project_memory.releases import PairFolders
from fim.context.provider import ContextProvider
from fim.evaluation.faults import doubles_bracket, repeats_suffix
from fim.evaluation.files import File, source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes
from fim.evaluation.older_trees import added_since
from fim.evaluation.project_context import context_provider_for
from fim.evaluation.run import Evaluator, Filling, measure
from fim.settings import FimSettings

_PAUSE_S = 0.02
"""Time for the engine to end a request that was closed early."""

VARIANTS = {
    "off": FimSettings(project_memory=False),
    "on": FimSettings(),
    "drafts": FimSettings(memory_mixing=False, memory_override="never"),
    "choice": FimSettings(memory_mixing=False, memory_override="always"),
    "mixing": FimSettings(memory_override="never"),
    "both": FimSettings(memory_override="always"),
}
"""Settings by name. `drafts`, `choice` and `mixing` have one use of the memory each: draft tokens,
the choice between the model's line and the memory's, and the mixture in each step (with draft
tokens). `both` has all of them. `on` is the default.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One hole, filled with one variant of the settings."""

    package: str
    variant: str
    sample: str
    name: str
    middle: str
    text: str
    exact: bool
    parses: bool | None
    confidence: float
    first: bool
    """Whether the first line is correct; the confidence refers to this line."""
    duplicated: bool
    """Whether the text is wrong and repeats what follows it, or doubles a bracket."""
    milliseconds: float
    timed: bool
    """Whether the time counts: the prompt was in no cache, and no files were read meanwhile."""
    steps: int
    tokens: int
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class PackageHoles:
    """Holes in a package, and the files of the two projects in which they are filled."""

    package: str
    holes: Sequence[Hole]
    files: Sequence[File]


def choose_holes(pair: PairFolders, count: int, seed: int, scratch: Path) -> PackageHoles:
    """Return `count` holes in random lines of a Python package, and as many in added lines."""
    random_files = source_files(pair.new)
    added_files = added_since(pair.new, pair.old, scratch / pair.package)
    files = [
        replace(file, path=f"{pair.package}/{file.path}")
        for file in (*random_files, *added_files)
        if file.language == "python"
    ]
    samples = ([f for f in files if f.added is None], [f for f in files if f.added is not None])
    holes = [hole for each in samples for hole in draw_holes(each, [HoleKind.LINE], count, seed)]
    return PackageHoles(pair.package, holes, files)


def shares(total: int, parts: int) -> list[int]:
    """Return a total divided into almost equal parts."""
    return [total // parts + (index < total % parts) for index in range(parts)]


async def fill(
    chosen: PackageHoles,
    settings: Mapping[str, FimSettings],
    engine: CountingEngine,
    done: Set[tuple[str, str]],
    add: Callable[[Row], None],
) -> None:
    """Fill the holes of a package with each variant; pairs of hole and variant in `done` are kept.

    The variants take turns in being the first, which has its prompt in no cache.
    """
    context = context_provider_for(chosen.files)
    names = list(settings)
    sample = ""
    for number, hole in enumerate(chosen.holes):
        turn = number % len(names)
        is_scanned, sample = hole.sample == sample, hole.sample
        for place, variant in enumerate((*names[turn:], *names[:turn])):
            if (hole.name, variant) not in done:
                row = await _fill_one(hole, engine, settings[variant], context)
                timed = place == 0 and is_scanned
                add(replace(row, package=chosen.package, variant=variant, timed=timed))


async def _fill_one(
    hole: Hole, engine: CountingEngine, settings: FimSettings, context: ContextProvider
) -> Row:
    before = engine.total
    filling = await Evaluator(engine, settings, context_provider=context).pipeline(hole)
    await asyncio.sleep(_PAUSE_S)
    cost = difference(before, engine.total)
    record = measure(hole, "pipeline", filling)
    return Row(
        package="",
        variant="",
        sample=hole.sample,
        name=hole.name,
        middle=hole.middle,
        text=filling.text,
        exact=record.exact,
        parses=record.parses,
        confidence=record.confidence,
        first=record.first,
        duplicated=not record.exact and _duplicates(hole, filling),
        milliseconds=record.milliseconds,
        timed=True,
        steps=cost.steps,
        tokens=cost.tokens,
        drafted=cost.drafted,
        accepted=cost.accepted,
    )


def _duplicates(hole: Hole, filling: Filling) -> bool:
    """Whether a filling repeats the text after the hole; it has lost what it replaces there."""
    around, cursor = hole.prefix + hole.suffix, len(hole.prefix)
    return bool(filling.text.strip()) and (
        repeats_suffix(around, cursor, filling.text, 0)
        or doubles_bracket(around, cursor, filling.text, 0)
    )
