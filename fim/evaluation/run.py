"""Fills holes, with the model alone or with the whole completion pipeline."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Callable, Sequence, Set
from dataclasses import dataclass, replace

from engine.api import Engine
from fim.completer import Completer
from fim.context.provider import ContextProvider
from fim.evaluation.files import Sample
from fim.evaluation.holes import Hole, HoleKind
from fim.evaluation.project_context import hole_uri
from fim.postprocess.confidence import first_line_end
from fim.request.model import FimModel
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger
from syntax.grammars import count_errors

_ONE_LINE = frozenset({HoleKind.LINE, HoleKind.RETURN})

_MODES = ("model", "pipeline")

RunTest = Callable[[str], bool]
"""Function that runs a program and returns whether it passed."""


@dataclass(frozen=True, slots=True)
class Record:
    """Result of filling one hole."""

    name: str
    language: str
    kind: str
    mode: str
    """`model` for the model alone, `pipeline` for the suggestion that a user would see."""
    text: str
    exact: bool
    """Whether the text equals the original, without white space at both ends.

    For a hole within one line, only the first line of the text counts.
    """
    similarity: float
    """Similarity to the original, 0 to 1 (Ratcliff and Obershelp's, computed by difflib)."""
    parses: bool | None
    """Whether the file has no more syntax errors than the original; None without a grammar."""
    milliseconds: float
    confidence: float = 1.0
    """Probability of the first line according to the model, 0 to 1."""
    first: bool = False
    """Whether the first non-empty line is correct; the confidence refers to this line."""
    passed: bool | None = None
    """Whether the tests of the hole pass; None if there are none or they were not run."""
    timed: bool = True
    """Whether the time counts. It does not if the engine had the prompt in its prefix cache."""
    sample: str = Sample.RANDOM
    """The kind of lines from which the hole was drawn."""


@dataclass(frozen=True, slots=True)
class Filling:
    """The text that fills a hole."""

    text: str
    applied: str
    """The file with the hole filled."""
    milliseconds: float
    confidence: float = 1.0


def measure(hole: Hole, mode: str, filling: Filling) -> Record:
    """Compare a filling with the original text."""
    text = filling.text.split("\n")[0] if hole.kind in _ONE_LINE else filling.text
    original_errors = count_errors(hole.prefix + hole.middle + hole.suffix, hole.language)
    errors = count_errors(filling.applied, hole.language)
    return Record(
        name=hole.name,
        language=hole.language,
        kind=hole.kind,
        mode=mode,
        text=filling.text,
        exact=text.strip() == hole.middle.strip(),
        similarity=difflib.SequenceMatcher(None, text.strip(), hole.middle.strip()).ratio(),
        parses=None if original_errors is None or errors is None else errors <= original_errors,
        milliseconds=filling.milliseconds,
        confidence=filling.confidence,
        first=_first_line(filling.text) == _first_line(hole.middle),
        sample=hole.sample,
    )


def _first_line(text: str) -> str:
    return text[: first_line_end(text)].strip()


def as_edited(hole: Hole) -> Hole:
    """Return a hole of whole lines as in an editor.

    The editor has inserted the indentation before the hole and the line feed after it.
    """
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
        """Create an evaluator. `run_test` runs the tests of holes; None runs none.

        `context_provider` adds excerpts of other files for the pipeline.
        """
        self._engine, self._settings = engine, settings
        self._run_test, self._context_provider = run_test, context_provider

    async def fill(
        self, holes: Sequence[Hole], done: Set[tuple[str, str]] = frozenset()
    ) -> AsyncIterator[Record]:
        """Yield a record for each pair of hole name and mode that is not in `done`.

        When a hole is filled in the second mode, the engine has its prompt in the prefix cache. So
        only the time of the first mode counts, and each mode is the first for half of the holes.
        """
        for first in (True, False):
            for number, hole in enumerate(holes):
                mode = _MODES[(number + first) % 2]
                if (hole.name, mode) not in done:
                    filling = await (self.model_alone if mode == "model" else self.pipeline)(hole)
                    passed = await self._passed(hole, filling)
                    yield replace(measure(hole, mode, filling), passed=passed, timed=first)

    async def model_alone(self, hole: Hole) -> Filling:
        """Fill with the output of the model; for a hole within one line, up to the line feed."""
        one_line = hole.kind in _ONE_LINE
        snapshot = _snapshot(hole)
        started = time.perf_counter()
        model = FimModel(self._engine, self._settings)
        text = await model.fill(snapshot, ("\n",) if one_line else ())
        elapsed = (time.perf_counter() - started) * 1000
        end = "\n" if one_line and hole.middle.endswith("\n") else ""
        return Filling(text, hole.prefix + text + end + hole.suffix, elapsed)

    async def pipeline(self, hole: Hole) -> Filling:
        """Fill with the suggestion that a user would get on request."""
        hole = as_edited(hole)
        snapshot = _snapshot(hole)
        # A new completer has an empty cache. Only the first suggestion counts, and a prefetch
        # would distort the times.
        settings = replace(self._settings, prefetch=False, candidates=1)
        completer = Completer(self._engine, settings, self._context_provider)
        started = time.perf_counter()
        result = await completer.complete(snapshot, Trigger.INVOKED)
        elapsed = (time.perf_counter() - started) * 1000
        if not result.suggestions:
            return Filling("", hole.prefix + hole.suffix, elapsed)
        suggestion = result.suggestions[0]
        # The suggestion contains the text that it replaces right of the cursor, mostly at its end.
        replaced = snapshot.after[: suggestion.replace_end - snapshot.cursor]
        text = suggestion.text.removesuffix(replaced)
        applied = suggestion.applied_to(snapshot.text)
        return Filling(text, applied, elapsed, suggestion.confidence)

    async def _passed(self, hole: Hole, filling: Filling) -> bool | None:
        if self._run_test is None or not hole.test:
            return None
        program = filling.applied
        if hole.kind in _ONE_LINE and "\n" in filling.text:
            # If the suggestion is a block, only its first line fills the hole.
            edited = as_edited(hole)
            program = edited.prefix + filling.text.split("\n")[0] + edited.suffix
        return await asyncio.to_thread(self._run_test, f"{program}\n\n{hole.test}")


def _snapshot(hole: Hole) -> Snapshot:
    text = hole.prefix + hole.suffix
    return Snapshot(hole_uri(hole.name), hole.language, text, len(hole.prefix))
