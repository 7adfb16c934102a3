"""Fill holes, with the model alone or with all that the product does around it."""

from __future__ import annotations

import difflib
import time
from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import dataclass

from engine.api import Engine
from fim.completer import Completer, FimSettings
from fim.evaluation.holes import Hole, Kind
from fim.fill import fill
from fim.snapshot import Snapshot, Trigger
from syntax.grammars import errors

_ONE_LINE = frozenset({Kind.LINE, Kind.SPAN, Kind.RETURN})


@dataclass(frozen=True, slots=True)
class Record:
    """How one hole was filled."""

    name: str
    language: str
    kind: str
    way: str
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


def measure(
    hole: Hole, way: str, text: str, applied: str, milliseconds: float, confidence: float = 1.0
) -> Record:
    """Compare a filling with what stood there; `applied` is the file with it."""
    one_line = hole.kind in _ONE_LINE
    made = text.split("\n")[0] if one_line else text
    whole = errors(hole.prefix + hole.middle + hole.suffix, hole.language)
    now = errors(applied, hole.language)
    return Record(
        name=hole.name,
        language=hole.language,
        kind=hole.kind,
        way=way,
        text=text,
        exact=made.strip() == hole.middle.strip(),
        similarity=difflib.SequenceMatcher(None, made.strip(), hole.middle.strip()).ratio(),
        parses=None if whole is None or now is None else now <= whole,
        milliseconds=milliseconds,
        confidence=confidence,
    )


class Evaluator:
    """Fills holes with one engine."""

    def __init__(self, engine: Engine, settings: FimSettings) -> None:
        self._engine, self._settings = engine, settings

    async def fill(
        self, holes: Sequence[Hole], done: Set[tuple[str, str]] = frozenset()
    ) -> AsyncIterator[Record]:
        """Yield a record for each hole and way that is not done: names of both.

        All holes in one way, then all in the other: one after the other, a hole's second filling
        would find its prompt in the engine's cache, and its time would say nothing.
        """
        for way, filled in (("raw", self.raw), ("pipeline", self.pipeline)):
            for hole in holes:
                if (hole.name, way) not in done:
                    yield await filled(hole)

    async def raw(self, hole: Hole) -> Record:
        """Fill with what the model writes, up to the line's end where the hole is in one line."""
        stop = ("\n",) if hole.kind in _ONE_LINE else ()
        started = time.perf_counter()
        text = await fill(self._engine, self._settings, _snapshot(hole), stop)
        elapsed = (time.perf_counter() - started) * 1000
        return measure(hole, "raw", text, hole.prefix + text + hole.suffix, elapsed)

    async def pipeline(self, hole: Hole) -> Record:
        """Fill with the suggestion that a user who asks for one would be shown."""
        snapshot = _snapshot(hole)
        completer = Completer(self._engine, self._settings)  # its cache must know nothing
        started = time.perf_counter()
        result = await completer.complete(snapshot, Trigger.INVOKED)
        elapsed = (time.perf_counter() - started) * 1000
        if not result.suggestions:
            return measure(hole, "pipeline", "", hole.prefix + hole.suffix, elapsed)
        one = result.suggestions[0]
        kept = one.replace_end - snapshot.cursor
        text = one.text[: len(one.text) - kept] if kept else one.text
        applied = one.applied_to(snapshot.text)
        return measure(hole, "pipeline", text, applied, elapsed, one.confidence)


def _snapshot(hole: Hole) -> Snapshot:
    text = hole.prefix + hole.suffix
    return Snapshot(f"eval:{hole.name}", hole.language, text, len(hole.prefix))
