"""Drafts: ids that may well come next, checked many at a time in one forward pass.

A guess is kept only where the model would have chosen the same id, so the answer does not change
(speculative decoding, Leviathan et al. 2023, arXiv:2211.17192). Guesses come from the
draft that the caller sent along, such as the suggestion of a key ago, and what followed the same
few ids before, since code repeats itself (prompt lookup, Saxena 2023); or from a draft model, where
there is one and it promises more.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from engine.decoding.draft_model import FIRST_CHANCE, Guesses
from engine.network.step_costs import StepCosts

_LONGEST_MATCH, _SHORTEST_MATCH = 4, 2
"""Ids that must have been the same before; longer matches are better guesses."""

_OF_CALLER = 0
_OF_MODEL = 1
"""Sources of a guess; the others are sizes of a match."""

_FIRST_CHANCES = {_OF_CALLER: 0.85, 4: 0.75, 3: 0.6, 2: 0.45}
"""How often a guess is right, by its source, before the answer has shown how often.

Measured with `benchmarks.drafts` on Python code; a caller's draft was the model's own word a moment
ago.
"""
_LEARNING = 0.15
"""Weight of the newest guess in the average."""
_FORGETTING = 0.03
"""Of what was learned, for each time that it kept us from guessing: places change."""

_MOST = 24
"""Ids a draft."""

_ID_BYTES = 4


class Drafter:
    """Guesses for one answer, as many at a time as pays."""

    def __init__(
        self,
        prompt: Sequence[int],
        draft: Sequence[int] = (),
        costs: StepCosts | None = None,
        model: Guesses | None = None,
    ) -> None:
        """`draft` is what the answer may begin with, and may come back to."""
        # As bytes, so that the search for what stood there before is one call.
        self._ids = bytearray(array("i", prompt).tobytes())
        self._answer_from = len(self._ids)
        self._draft = Draft(draft) if draft else None
        self._costs = costs or StepCosts()
        self._model = model
        self._chances = dict(_FIRST_CHANCES)
        if model is not None:
            self._chances[_OF_MODEL] = model.model.chance
        self._source = _OF_CALLER
        self._stopped_at: int | None = None
        """Guesses after which the draft model was not sure of another, if it was asked for more."""
        self.drafted = 0
        """Ids guessed."""
        self.accepted = 0
        """Of those, how many were right."""

    def add(self, id_: int) -> None:
        """Take an id of the answer."""
        self._ids += array("i", (id_,)).tobytes()
        if self._draft is not None:
            self._draft.follow(id_, self._last_of_answer())

    def propose(self, most: int, ends: Callable[[int], bool] | None = None) -> tuple[int, ...]:
        """Return at most `most` ids, of the source that promises the most of a pass.

        None behind the first that `ends` the answer.
        """
        most = min(most, _MOST)
        found = _until(self._find(most), ends)
        count, rate = self._best(self._source, len(found)) if found else (0, 0.0)
        if self._model is not None and most > 0:
            guesses, guesses_rate = self._best(_OF_MODEL, most, self._model.each_ms)
            if guesses and guesses_rate > rate:
                made = self._model.guess(array("i", _ids(self._ids)), guesses)
                if made:
                    self._source, found = _OF_MODEL, _until(made, ends)
                    count = len(found)
                    self._stopped_at = len(made) if len(made) < guesses else None
                elif made is not None:
                    self._learn(_OF_MODEL, 0, wrong=True)
        self.drafted += count
        return found[:count]

    def _best(self, source: int, most: int, each_ms: float = 0.0) -> tuple[int, float]:
        """Return how many guesses of a source pay, and how many ids a millisecond they promise."""
        chance = self._chances[source]
        best = self._costs.best_draft(chance, most, each_ms)
        if best[0] == 0:
            first = _FIRST_CHANCES.get(source, FIRST_CHANCE)
            self._chances[source] += _FORGETTING * (first - chance)
        return best

    def close(self) -> None:
        """Let go of what the draft model holds for the answer."""
        if self._model is not None:
            self._model.close()

    def judge(self, guessed: int, right: int) -> None:
        """Learn that of the ids proposed last, so many, the first `right` were chosen."""
        self.accepted += right
        # A guess that the draft model was not sure enough to make brought no more than a wrong one.
        unsure = self._source == _OF_MODEL and right == self._stopped_at
        self._learn(self._source, right, wrong=right < guessed or unsure)

    def _learn(self, source: int, right: int, *, wrong: bool) -> None:
        chance = self._chances[source]
        for _ in range(right):
            chance += _LEARNING * (1 - chance)
        if wrong:
            chance -= _LEARNING * chance
        self._chances[source] = chance
        if self._model is not None and source == _OF_MODEL:
            self._model.model.chance = chance

    def _find(self, wanted: int) -> tuple[int, ...]:
        if wanted <= 0:
            return ()
        if self._draft is not None and (found := self._draft.ahead(wanted)):
            self._source = _OF_CALLER
            return found
        for size in range(_LONGEST_MATCH, _SHORTEST_MATCH - 1, -1):
            place = self._followed(size)
            if place is not None:
                self._source = size
                return _ids(self._ids[place : place + wanted * _ID_BYTES])
        return ()

    def _followed(self, size: int) -> int | None:
        """Return the byte after the nearest earlier place of the last `size` ids, None for none."""
        last = self._ids[-size * _ID_BYTES :]
        end = len(self._ids) - 1  # not the last place itself
        while len(last) == size * _ID_BYTES:
            at = self._ids.rfind(last, 0, end)
            if at < 0:
                return None
            if at % _ID_BYTES == 0:
                return at + size * _ID_BYTES
            end = at + len(last) - 1
        return None

    def _last_of_answer(self) -> tuple[int, ...]:
        return _ids(
            self._ids[max(self._answer_from, len(self._ids) - _LONGEST_MATCH * _ID_BYTES) :]
        )


class Draft:
    """Where in a caller's draft the answer is, if it is in it."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = tuple(ids)
        self._at: int | None = 0
        """Place of the id that comes next if the answer keeps to the draft; None when lost."""
        self._passed = 0
        """Places before this one are behind the answer."""

    def follow(self, id_: int, last: Sequence[int]) -> None:
        """Take an id of the answer, whose last few ids, `id_` included, are `last`.

        Where the answer has left the draft it may come back to it: after an insertion to where it
        left, after a deletion to what comes later.
        """
        if self._at is not None and self._at < len(self._ids) and self._ids[self._at] == id_:
            self._at = self._passed = self._at + 1
            return
        self._at = self._found(last)
        if self._at is not None:
            self._passed = self._at

    def ahead(self, most: int) -> tuple[int, ...]:
        """Return the next ids of the draft, at most so many; none when the answer has left it."""
        return () if self._at is None else self._ids[self._at : self._at + most]

    def _found(self, last: Sequence[int]) -> int | None:
        """Return the place behind the longest match of the last ids, the nearest of several."""
        for size in range(len(last), 0, -1):
            wanted = tuple(last[-size:])
            for at in range(self._passed, len(self._ids) - size + 1):
                if self._ids[at : at + size] == wanted:
                    return at + size
        return None


def _until(ids: tuple[int, ...], ends: Callable[[int], bool] | None) -> tuple[int, ...]:
    """Return ids up to the first that is an end, and that one."""
    if ends is None:
        return ids
    end = next((at for at, id_ in enumerate(ids, start=1) if ends(id_)), len(ids))
    return ids[:end]


def _ids(of_bytes: bytes | bytearray) -> tuple[int, ...]:
    found = array("i")
    found.frombytes(bytes(of_bytes))
    return tuple(found)
