"""Fill holes, with the model alone or with all that the product does around it."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Callable, Sequence, Set
from dataclasses import dataclass, replace

from engine.api import Engine
from fim.completer import Completer, ContextProvider
from fim.evaluation.holes import Hole, HoleKind
from fim.evaluation.project_context import hole_uri
from fim.postprocess.confidence import first_line_end
from fim.request.model import FimModel
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger
from syntax.grammars import count_errors

_ONE_LINE = frozenset({HoleKind.LINE, HoleKind.RETURN})

_MODES = ("raw", "pipeline")

RunTest = Callable[[str], bool]
"""Runs a program; whether it came to its end."""


@dataclass(frozen=True, slots=True)
class Record:
    """How one hole was filled."""

    name: str
    language: str
    kind: str
    mode: str
    """`raw` is the model alone, `pipeline` what a user would have been shown."""
    text: str
    exact: bool
    """Whether it is what stood there, spaces at its ends aside; of one line, its first."""
    similarity: float
    """Of the two texts, 0 to 1 (Ratcliff and Obershelp's, as difflib computes it)."""
    parses: bool | None
    """Whether the file parses no worse than it did whole; None where nobody can tell."""
    milliseconds: float
    confidence: float = 1.0
    """How sure the model was of its first line, 0 to 1."""
    first: bool = False
    """Whether the first line with something on it is right: what confidence speaks of."""
    passed: bool | None = None
    """Whether the hole's tests pass; None where there are none, or they were not run."""
    timed: bool = True
    """Whether the time counts: not where the engine had the prompt already."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What was put into a hole."""

    text: str
    applied: str
    """The file with it."""
    milliseconds: float
    confidence: float = 1.0


def measure(hole: Hole, mode: str, filling: Filling) -> Record:
    """Compare a filling with what stood there."""
    made = filling.text.split("\n")[0] if hole.kind in _ONE_LINE else filling.text
    whole = count_errors(hole.prefix + hole.middle + hole.suffix, hole.language)
    now = count_errors(filling.applied, hole.language)
    return Record(
        name=hole.name,
        language=hole.language,
        kind=hole.kind,
        mode=mode,
        text=filling.text,
        exact=made.strip() == hole.middle.strip(),
        similarity=difflib.SequenceMatcher(None, made.strip(), hole.middle.strip()).ratio(),
        parses=None if whole is None or now is None else now <= whole,
        milliseconds=filling.milliseconds,
        confidence=filling.confidence,
        first=_first(filling.text) == _first(hole.middle),
    )


def _first(text: str) -> str:
    return text[: first_line_end(text)].strip()


def as_edited(hole: Hole) -> Hole:
    """Return a hole of whole lines as an editor has it: indented already, its line end there."""
    prefix, middle, suffix = hole.prefix, hole.middle, hole.suffix
    if middle.endswith("\n"):
        middle, suffix = middle[:-1], "\n" + suffix
    if not prefix or prefix.endswith("\n"):
        code = middle.lstrip(" \t")
        prefix, middle = prefix + middle[: len(middle) - len(code)], code
    return replace(hole, prefix=prefix, middle=middle, suffix=suffix)


class Evaluator:
    """Fills holes with one engine."""

    def __init__(
        self,
        engine: Engine,
        settings: FimSettings,
        run_test: RunTest | None = None,
        context_provider: ContextProvider | None = None,
    ) -> None:
        """Run the tests of holes that have some with `run_test`, if it is given.

        `context_provider` finds parts of other files for the pipeline.
        """
        self._engine, self._settings = engine, settings
        self._run_test, self._context_provider = run_test, context_provider

    async def fill(
        self, holes: Sequence[Hole], done: Set[tuple[str, str]] = frozenset()
    ) -> AsyncIterator[Record]:
        """Yield a record for each hole and mode that is not done: names of both.

        The engine keeps the prompts that it has seen: a hole's second filling finds its own there.
        So half of the holes are filled in one mode first and half in the other, and only the first
        filling's time counts.
        """
        for first in (True, False):
            for number, hole in enumerate(holes):
                mode = _MODES[(number + first) % 2]
                if (hole.name, mode) not in done:
                    filling = await (self.raw if mode == "raw" else self.pipeline)(hole)
                    passed = await self._passed(hole, filling)
                    yield replace(measure(hole, mode, filling), passed=passed, timed=first)

    async def raw(self, hole: Hole) -> Filling:
        """Fill with what the model writes, up to the line's end where the hole is in one line."""
        one_line = hole.kind in _ONE_LINE
        snapshot = _snapshot(hole)
        started = time.perf_counter()
        model = FimModel(self._engine, self._settings)
        text = await model.fill(snapshot, ("\n",) if one_line else ())
        elapsed = (time.perf_counter() - started) * 1000
        end = "\n" if one_line and hole.middle.endswith("\n") else ""
        return Filling(text, hole.prefix + text + end + hole.suffix, elapsed)

    async def pipeline(self, hole: Hole) -> Filling:
        """Fill with the suggestion that a user who asks for one would be shown."""
        hole = as_edited(hole)
        snapshot = _snapshot(hole)
        # A completer of its own: its cache must know nothing. What is shown first is one, and what
        # nobody waits for is not to be timed.
        settings = replace(self._settings, prefetch=False, candidates=1)
        completer = Completer(self._engine, settings, self._context_provider)
        started = time.perf_counter()
        result = await completer.complete(snapshot, Trigger.INVOKED)
        elapsed = (time.perf_counter() - started) * 1000
        if not result.suggestions:
            return Filling("", hole.prefix + hole.suffix, elapsed)
        one = result.suggestions[0]
        # What it replaces right of the cursor it writes again, most often at its end.
        text = one.text.removesuffix(snapshot.after[: one.replace_end - snapshot.cursor])
        return Filling(text, one.applied_to(snapshot.text), elapsed, one.confidence)

    async def _passed(self, hole: Hole, filling: Filling) -> bool | None:
        if self._run_test is None or not hole.test:
            return None
        program = filling.applied
        if hole.kind in _ONE_LINE and "\n" in filling.text:
            # Of a block that was offered for one line, the line is taken.
            edited = as_edited(hole)
            program = edited.prefix + filling.text.split("\n")[0] + edited.suffix
        return await asyncio.to_thread(self._run_test, f"{program}\n\n{hole.test}")


def _snapshot(hole: Hole) -> Snapshot:
    text = hole.prefix + hole.suffix
    return Snapshot(hole_uri(hole.name), hole.language, text, len(hole.prefix))
